-- The outbox of tidegate, format 1. Write a row in the transaction that it tells of:
--   INSERT INTO tidegate_outbox (topic, type, subject, data) VALUES (?, ?, ?, ?);

CREATE TABLE tidegate_outbox (
    -- The order of commits: SQLite has one writer, and AUTOINCREMENT gives no number twice. Leave it out.
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The event's id.
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    -- Where the event goes; without one, the topic of the relay's configuration.
    topic TEXT,
    type TEXT NOT NULL,
    subject TEXT,
    partitionkey TEXT,
    -- Without one, that of the relay's configuration.
    source TEXT,
    -- When it happened, as in RFC 3339.
    time TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    datacontenttype TEXT,
    dataschema TEXT,
    -- Other attributes: a JSON object of strings, integers and booleans.
    extensions TEXT,
    -- JSON, unless datacontenttype says another kind of text.
    data TEXT,
    -- Or bytes.
    data_binary BLOB,
    -- The relay's own, in milliseconds since 1970. Leave them out.
    created INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    emitted INTEGER,
    failed TEXT,
    CHECK (data IS NULL OR data_binary IS NULL)
);

CREATE INDEX tidegate_outbox_failed ON tidegate_outbox (position) WHERE failed IS NOT NULL;

-- How far the relay is, and with which bus.
CREATE TABLE tidegate_outbox_relay (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    format INTEGER NOT NULL DEFAULT 1,
    outbox TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
    claimed TEXT,
    settled TEXT,
    position INTEGER NOT NULL DEFAULT 0
);

INSERT INTO tidegate_outbox_relay DEFAULT VALUES;

-- A row below what is published already would never be seen.
CREATE TRIGGER tidegate_outbox_insert AFTER INSERT ON tidegate_outbox
WHEN NEW.position <= (SELECT position FROM tidegate_outbox_relay)
  OR NEW.position <= coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tidegate_outbox'), 0)
BEGIN
    SELECT RAISE(ABORT, 'tidegate_outbox.position is given by the database and must rise: leave it out, and sqlite_sequence alone');
END;

CREATE TRIGGER tidegate_outbox_update AFTER UPDATE OF position ON tidegate_outbox
WHEN NEW.position <> OLD.position
 AND NEW.position <> 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'tidegate_outbox'), 0)
BEGIN
    SELECT RAISE(ABORT, 'tidegate_outbox.position is given by the database: leave it alone');
END;
