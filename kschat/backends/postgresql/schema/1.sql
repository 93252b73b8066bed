-- From an empty schema to version 1.
--
-- Names, cids and texts are bytea: they may hold any character, also NUL, and are compared byte by byte.

-- One row. `server` tells where it was written last (see `hello`), and `risky` whether a daemon does not wait for the
-- disk there. Offsets that are given are greater than the base of `generation`.
CREATE TABLE state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    epoch text NOT NULL,
    server text NOT NULL,
    started timestamptz NOT NULL,
    risky boolean NOT NULL,
    generation bigint NOT NULL,
    -- The greatest offset of an inbox that was erased: new inboxes begin beyond it, since its user may come back.
    erased bigint NOT NULL,
    -- The number of the newest revocation.
    revoked bigint NOT NULL
);

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- NULL: the user was erased. (Messages in rooms refer to the number.)
    name bytea UNIQUE,
    -- The greatest offset that was given; and all up to this one is kept no longer.
    last bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    -- All up to this offset was proved to be delivered.
    cursor bigint NOT NULL DEFAULT 0,
    -- When the last socket ended, in milliseconds since 1970.
    seen bigint,
    rooms integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Of two users (`one` is the smaller id; both are the same for notes to oneself), or a room.
CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    one bigint,
    other bigint,
    room bytea UNIQUE,
    -- The greatest number of a message or an update; number and rest of the mid of the newest message, 0 if there is none.
    last bigint NOT NULL DEFAULT 0,
    newest bigint NOT NULL DEFAULT 0,
    tail bytea NOT NULL DEFAULT '',
    -- How many messages there were; and how many of them retention has taken away.
    total bigint NOT NULL DEFAULT 0,
    gone bigint NOT NULL DEFAULT 0,
    members integer NOT NULL DEFAULT 0,
    UNIQUE (one, other)
) WITH (fillfactor = 70);

-- Whose a conversation is: the two users, from its first message on, or the room's members.
CREATE TABLE participants (
    user_id bigint NOT NULL,
    conversation bigint NOT NULL,
    -- All messages of others up to this number are read; so many these are.
    read bigint NOT NULL DEFAULT 0,
    read_count bigint NOT NULL DEFAULT 0,
    -- The user's own messages here, and how many of them retention has taken away. Of a room: since this number.
    own bigint NOT NULL DEFAULT 0,
    own_gone bigint NOT NULL DEFAULT 0,
    joined bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, conversation)
) WITH (fillfactor = 70);

CREATE INDEX participants_of ON participants (conversation);

CREATE TABLE messages (
    conversation bigint NOT NULL,
    -- The first 16 hex digits of the mid: milliseconds since 1970 and a count; and the rest of it.
    id bigint NOT NULL,
    suffix bytea NOT NULL,
    sender bigint NOT NULL,
    -- To a user: who it is, and the offset in that inbox. To a room: NULL, and each recipient with the offset.
    recipient bigint,
    place bigint,
    members bigint[],
    places bigint[],
    -- Which number of its conversation it is, and of its sender in it.
    total bigint NOT NULL,
    own bigint NOT NULL,
    -- How the sender wrote the ids (see `backends/ids.py`); NULL for 0.
    ids text,
    time bigint NOT NULL,
    cid bytea,
    -- Bytes of msg and attachments together.
    size integer NOT NULL,
    msg bytea NOT NULL,
    -- A msgpack array of binaries.
    attachments bytea,
    -- What became of the message since (msgpack of `Changes`).
    extra bytea,
    -- What lists show of it where that is not the msg (see `chat/lines.py`).
    line bytea,
    PRIMARY KEY (conversation, id)
);

CREATE UNIQUE INDEX messages_cid ON messages (sender, cid) WHERE cid IS NOT NULL;

-- Each member's own messages in a room.
CREATE INDEX messages_own ON messages (conversation, sender, id) WHERE recipient IS NULL;

-- The oldest. (A BRIN index would be smaller, and of no use once new messages lie where deleted ones were.)
CREATE INDEX messages_age ON messages (id);

-- Messages whose numbers run ahead of their time, since the clock was wrong before (see `backends/age.py`).
CREATE INDEX messages_late ON messages (time) WHERE time < (id >> 16) - 60000 AND time >= (id >> 16) - 2592000000;

CREATE INDEX messages_changed ON messages (conversation, id) WHERE extra IS NOT NULL;

-- Edits, deletions and reactions: what is in the inboxes of all in a conversation. Their text is their message's.
CREATE TABLE updates (
    conversation bigint NOT NULL,
    id bigint NOT NULL,
    suffix bytea NOT NULL,
    sender bigint NOT NULL,
    recipient bigint,
    members bigint[] NOT NULL,
    places bigint[] NOT NULL,
    -- The message, and whether this is an edit of it.
    target bigint NOT NULL,
    edits boolean NOT NULL,
    ids text,
    time bigint NOT NULL,
    cid bytea,
    -- Msgpack of `Update`.
    extra bytea NOT NULL,
    PRIMARY KEY (conversation, id)
);

CREATE UNIQUE INDEX updates_cid ON updates (sender, cid) WHERE cid IS NOT NULL;
CREATE INDEX updates_sender ON updates (sender);
CREATE INDEX updates_age ON updates (id);

-- Each message and update once for each recipient.
CREATE TABLE inbox (
    user_id bigint NOT NULL,
    place bigint NOT NULL,
    conversation bigint NOT NULL,
    message bigint NOT NULL,
    PRIMARY KEY (user_id, place)
);

-- Whose messages a user does not want.
CREATE TABLE blocks (
    user_id bigint NOT NULL,
    peer bigint NOT NULL,
    PRIMARY KEY (user_id, peer)
);

CREATE INDEX blocks_of ON blocks (peer);

-- Times in milliseconds since 1970: see `chat/revocation.py`.
CREATE TABLE revocations (
    key bytea PRIMARY KEY,
    number bigint NOT NULL UNIQUE,
    before bigint NOT NULL,
    until bigint NOT NULL,
    lifted boolean NOT NULL
);

CREATE INDEX revocations_until ON revocations (until);

-- Web Push subscriptions, the oldest first; see `chat/push.py`. An endpoint has one user: a browser may change hands.
CREATE TABLE subscriptions (
    endpoint bytea PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    p256dh bytea NOT NULL,
    auth bytea NOT NULL
);

CREATE INDEX subscriptions_of ON subscriptions (user_id, number);
