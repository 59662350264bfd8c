-- A box is a row before it is anything else, and until nothing of it is left: `doomed` is 1 from the wish to destroy it on.
-- Without an owner it waits in a pool. A place (an owner, or one of the owner's conversations) has one box that is not doomed.
CREATE TABLE sandbox (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT,
    conversation BLOB,
    backend TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    doomed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    working_dir TEXT NOT NULL,
    options TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX sandbox_place ON sandbox (owner, coalesce(conversation, x'')) WHERE doomed = 0 AND owner IS NOT NULL;

CREATE TABLE sandbox_event (
    sandbox INTEGER NOT NULL REFERENCES sandbox ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (sandbox, seq)
) STRICT, WITHOUT ROWID;
