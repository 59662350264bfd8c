-- What users spent, by day in UTC and model. It stays when the conversations are deleted.
CREATE TABLE usage (
    owner TEXT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    PRIMARY KEY (owner, day, model)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_day ON usage (day);

INSERT INTO usage
SELECT
    conversation.owner,
    -- A time that is no time of ours counts as long ago.
    coalesce(date(call.timestamp, 'unixepoch'), '1970-01-01') AS day,
    substr(call.model, 1, 200) AS name,
    count(*),
    CAST(min(total(call.prompt_tokens), 1e15) AS INTEGER),
    CAST(min(total(call.completion_tokens), 1e15) AS INTEGER),
    CAST(min(total(call.cache_read_tokens), 1e15) AS INTEGER),
    CAST(min(total(call.cache_write_tokens), 1e15) AS INTEGER),
    CAST(min(total(call.reasoning_tokens), 1e15) AS INTEGER),
    total(call.cost)
FROM call JOIN conversation ON conversation.number = call.conversation
GROUP BY conversation.owner, day, name;
