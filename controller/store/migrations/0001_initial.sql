-- Streams of agents: up to which sequence everything is durable here.
CREATE TABLE streams (
    node TEXT NOT NULL,
    stream TEXT NOT NULL,
    acked INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (node, stream)
) WITHOUT ROWID;

-- Everything that happened, in the order in which it was stored. Streams follow it by its cursor.
-- Cursors have no holes: a reader that finds one knows that retention took what stood there.
-- at: when it was observed, by its observer's clock; stored_at: when it was stored, by ours.
-- data: of an event its envelope's bytes, unchanged; of an incident its report and of a gap its facts as JSON; of a reject its raw bytes.
CREATE TABLE log (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL CHECK (type IN ('event', 'incident', 'gap', 'reject')),
    node TEXT NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    data BLOB NOT NULL
);

CREATE TABLE gaps (
    node TEXT NOT NULL,
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (node, stream, first)
) WITHOUT ROWID;

-- The core's records, as it last left them: opaque msgpack values.
CREATE TABLE core_state (
    tab TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (tab, key)
) WITHOUT ROWID;

CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    entity TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    resolved_at TEXT,
    report TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX incidents_by_opening ON incidents (opened_at);

CREATE TABLE incident_changes (
    incident TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    change TEXT NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (incident, number)
) WITHOUT ROWID;

-- What must be told to whom, and, once told, the record of it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    performer TEXT NOT NULL,
    incident TEXT NOT NULL,
    number INTEGER NOT NULL,
    payload TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'dead')),
    last_error TEXT,
    sent_at INTEGER,
    response TEXT
);
-- The first finds the next change of each incident without a look at the rows, which are kilobytes each; the second what is old.
CREATE INDEX outbox_pending ON outbox (performer, incident, number, next_at, state) WHERE state = 'pending';
CREATE INDEX outbox_told ON outbox (created_at) WHERE state <> 'pending';

CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    cursor INTEGER NOT NULL
) WITHOUT ROWID;
