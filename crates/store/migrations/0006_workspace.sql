-- Workspaces that users made besides the one that each has anyway, which is no row.
CREATE TABLE workspace (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    working_dir TEXT NOT NULL,
    options TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX workspace_owner ON workspace (owner, created_at, id);

-- The workspace that a conversation works in; none for its user's own, or one for itself.
ALTER TABLE conversation ADD COLUMN workspace BLOB;
CREATE INDEX conversation_workspace ON conversation (owner, workspace, created_at, id) WHERE workspace IS NOT NULL;

-- Commands in a workspace that a user made; none for the user's own, or a conversation's.
ALTER TABLE bash_event ADD COLUMN workspace BLOB;
DROP INDEX bash_event_time;
CREATE INDEX bash_event_time ON bash_event (owner, conversation, workspace, timestamp);
CREATE INDEX bash_event_workspace ON bash_event (workspace) WHERE workspace IS NOT NULL;
CREATE TRIGGER workspace_removed AFTER DELETE ON workspace BEGIN
    DELETE FROM bash_event WHERE owner = OLD.owner AND workspace = OLD.id;
END;

ALTER TABLE sandbox ADD COLUMN workspace BLOB;
DROP INDEX sandbox_place;
CREATE UNIQUE INDEX sandbox_place ON sandbox (owner, coalesce(conversation, workspace, x''))
WHERE doomed = 0 AND owner IS NOT NULL;
