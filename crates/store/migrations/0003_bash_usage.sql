-- Bytes of the events of commands of each user, so that they can be bounded.
CREATE TABLE bash_usage (
    owner TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER bash_event_added AFTER INSERT ON bash_event BEGIN
    INSERT INTO bash_usage (owner, bytes) VALUES (NEW.owner, octet_length(NEW.json))
    ON CONFLICT (owner) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER bash_event_removed AFTER DELETE ON bash_event BEGIN
    UPDATE bash_usage SET bytes = bytes - octet_length(OLD.json) WHERE owner = OLD.owner;
END;

CREATE INDEX bash_event_owner ON bash_event (owner);

INSERT INTO bash_usage (owner, bytes) SELECT owner, sum(octet_length(json)) FROM bash_event GROUP BY owner;
