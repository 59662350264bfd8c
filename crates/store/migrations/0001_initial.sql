-- Times are microseconds since 1970 in UTC, except `event.timestamp`, which is the text that clients sort and filter by.
-- Small columns stand before large ones, so that a filter does not read what it does not need.

-- The one row is a known text under the secret key, so that a wrong key is noticed at start.
CREATE TABLE key_check (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    token TEXT NOT NULL
) STRICT;

CREATE TABLE conversation (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    owner TEXT NOT NULL,
    parent BLOB,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    tail INTEGER NOT NULL,
    title TEXT,
    tags TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;

CREATE INDEX conversation_created ON conversation (owner, created_at, id);
CREATE INDEX conversation_updated ON conversation (owner, updated_at, id);
CREATE INDEX conversation_status ON conversation (status, owner);
CREATE INDEX conversation_parent ON conversation (parent, created_at) WHERE parent IS NOT NULL;

-- Apart from `conversation`, because it is large and changes seldom.
CREATE TABLE definition (
    conversation INTEGER PRIMARY KEY REFERENCES conversation ON DELETE CASCADE,
    json TEXT NOT NULL,
    secrets TEXT NOT NULL
) STRICT;

CREATE TABLE event (
    conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    id TEXT NOT NULL,
    json TEXT NOT NULL,
    arguments TEXT,
    PRIMARY KEY (conversation, seq),
    UNIQUE (conversation, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
    conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    position INTEGER NOT NULL,
    usage_id TEXT NOT NULL,
    model TEXT NOT NULL,
    response_id TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    context_window INTEGER NOT NULL,
    per_turn_token INTEGER NOT NULL,
    cost REAL NOT NULL,
    latency REAL NOT NULL,
    timestamp REAL NOT NULL,
    PRIMARY KEY (conversation, position)
) STRICT, WITHOUT ROWID;

-- `running` is 1 for a command that has no output with an exit code yet.
CREATE TABLE bash_event (
    number INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    conversation INTEGER REFERENCES conversation ON DELETE CASCADE,
    timestamp INTEGER NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    command_id TEXT,
    position INTEGER,
    running INTEGER NOT NULL,
    json TEXT NOT NULL,
    UNIQUE (owner, id)
) STRICT;

CREATE INDEX bash_event_time ON bash_event (owner, conversation, timestamp);
CREATE INDEX bash_event_command ON bash_event (owner, command_id, timestamp) WHERE command_id IS NOT NULL;
CREATE INDEX bash_event_running ON bash_event (number) WHERE running = 1;
CREATE INDEX bash_event_conversation ON bash_event (conversation) WHERE conversation IS NOT NULL;

CREATE TABLE setting (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
