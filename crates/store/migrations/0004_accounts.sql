-- A user is found by name. Nobody is removed, so that no name comes to mean somebody else.
CREATE TABLE user (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    options TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `hash` is the SHA-256 of the key's random part: 256 bits, so that nothing is gained by a slow hash.
CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL REFERENCES user,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workspace BLOB CHECK (length(workspace) = 16),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_user ON api_key (user, created_at);
