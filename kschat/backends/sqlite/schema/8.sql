-- From version 7 to version 8: what is kept for hooks (see `kschat/chat/outbox.py`).

-- One row. All messages up to `position` were looked at; NULL while hooks are off.
CREATE TABLE hook_progress (position INTEGER);

INSERT INTO hook_progress VALUES (NULL);

CREATE TABLE hook_joins (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL,
    user TEXT NOT NULL,
    at INTEGER NOT NULL
);

-- Users who are known as connected.
CREATE TABLE hook_connected (user TEXT PRIMARY KEY) WITHOUT ROWID;

-- Users with undelivered messages: when to look at them, and the last offset of which an event has told.
CREATE TABLE hook_waiting (
    user TEXT PRIMARY KEY,
    due INTEGER NOT NULL,
    told INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX hook_waiting_due ON hook_waiting (due);

CREATE TABLE hook_events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    user TEXT NOT NULL,
    at INTEGER NOT NULL,
    data BLOB NOT NULL,
    -- A JSON array of the other users that `data` names.
    named TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    note BLOB NOT NULL DEFAULT x''
);

CREATE INDEX hook_events_due ON hook_events (consumer, due);
