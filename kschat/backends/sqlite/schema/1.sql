-- From an empty file to version 1.

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- All up to this offset was proved to be delivered.
    cursor INTEGER NOT NULL DEFAULT 0,
    -- All up to this offset is kept no longer, so that none comes twice when an inbox is empty.
    floor INTEGER NOT NULL DEFAULT 0,
    -- When the last socket ended, in milliseconds since 1970.
    seen INTEGER
);

-- Of two users (`one` is the smaller id; both are the same for notes to oneself), or a room.
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    one INTEGER,
    other INTEGER,
    room TEXT UNIQUE,
    UNIQUE (one, other)
);

-- Whose a conversation is: the two users, from its first message on, or the room's members.
CREATE TABLE participants (
    user INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    -- All messages of others up to this id are read.
    read INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, conversation)
) WITHOUT ROWID;

CREATE INDEX participants_of ON participants (conversation);

-- Each message once. It is written here, at the end, before it is answered; inbox, thread and cids
-- follow for many messages at once, up to `progress.indexed`, since each of those is another page.
CREATE TABLE messages (
    -- The first 16 hex digits of the mid: milliseconds since 1970 and a count.
    id INTEGER PRIMARY KEY,
    -- The rest of the mid.
    suffix TEXT NOT NULL,
    conversation INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    -- To a user: who it is, and the offset in that inbox. To a room: NULL, and each [user, offset].
    recipient INTEGER,
    place INTEGER,
    places TEXT,
    -- Which number of its conversation it is, and of its sender in it (to a user).
    total INTEGER NOT NULL,
    own INTEGER NOT NULL,
    -- Whether the sender wrote numbers for names: 1 uId, 2 pId; or both as JSON, where they are not the names.
    ids NOT NULL,
    time INTEGER NOT NULL,
    cid TEXT,
    msg BLOB NOT NULL,
    -- A msgpack array of binaries.
    attachments BLOB
);

CREATE TABLE inbox (
    user INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (user, offset)
) WITHOUT ROWID;

-- The messages of a conversation, with what unread ones are counted by.
CREATE TABLE thread (
    conversation INTEGER NOT NULL,
    message INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    total INTEGER NOT NULL,
    own INTEGER NOT NULL,
    PRIMARY KEY (conversation, message)
) WITHOUT ROWID;

CREATE TABLE cids (
    sender INTEGER NOT NULL,
    cid TEXT NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (sender, cid)
) WITHOUT ROWID;

-- One row. `openings` counts, and proves at each that the file can be written to. `epoch` is this file's own:
-- offsets of another file mean nothing here.
CREATE TABLE progress (
    indexed INTEGER NOT NULL,
    openings INTEGER NOT NULL,
    epoch TEXT NOT NULL
);

INSERT INTO progress VALUES (0, 0, lower(hex(randomblob(8))));
