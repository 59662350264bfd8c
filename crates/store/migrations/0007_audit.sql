-- Who did what. Each row carries the hash of the row before it, so that none can be changed, added in between or taken away
-- without that being seen. `removed` is set in checkpoints only: the last row that was removed because of its age.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT,
    key TEXT,
    address TEXT,
    request TEXT,
    action TEXT NOT NULL,
    target_kind TEXT,
    target TEXT,
    owner TEXT,
    status INTEGER,
    details TEXT NOT NULL,
    removed INTEGER,
    previous BLOB NOT NULL CHECK (length(previous) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, seq);
CREATE INDEX audit_action ON audit (action, seq);
CREATE INDEX audit_target ON audit (target, seq) WHERE target IS NOT NULL;
CREATE INDEX audit_removed ON audit (removed) WHERE removed IS NOT NULL;

CREATE TRIGGER audit_no_gap BEFORE INSERT ON audit
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit) BEGIN
    SELECT RAISE(ABORT, 'records of the audit log are only added at its end');
END;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'records of the audit log are not changed');
END;

-- A checkpoint comes first.
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.seq > (SELECT coalesce(max(removed), 0) FROM audit WHERE removed IS NOT NULL) BEGIN
    SELECT RAISE(ABORT, 'records of the audit log are not removed, except old ones behind a checkpoint');
END;
