-- From version 1 to version 2: restored files, and counts in rooms.

-- Offsets that are given are greater than `base`: it is raised, with a new epoch, where the file may be an older
-- state than the one whose offsets clients know.
ALTER TABLE progress ADD COLUMN base INTEGER NOT NULL DEFAULT 0;

-- 1 in a copy that `kschat backup` made: whoever opens it begins a new epoch.
ALTER TABLE progress ADD COLUMN copied INTEGER NOT NULL DEFAULT 0;

-- Drawn by lot at each opening. A daemon that finds another one's has lost the file to it.
ALTER TABLE progress ADD COLUMN opener TEXT NOT NULL DEFAULT '';

-- Of a message to a room, `own` is negative: -n of its sender's n-th message there.
UPDATE messages SET own = counted.own FROM (
    SELECT id, -row_number() OVER (PARTITION BY conversation, sender ORDER BY id) AS own
    FROM messages WHERE recipient IS NULL
) AS counted WHERE counted.id = messages.id;
UPDATE thread SET own = (SELECT own FROM messages WHERE id = thread.message)
WHERE conversation IN (SELECT id FROM conversations WHERE room IS NOT NULL);

-- Each member's own messages in a room, by which unread ones are counted.
CREATE INDEX thread_of_member ON thread (conversation, sender, message, own) WHERE own < 0;

-- Of a message to a room that count retention took out of some inboxes: in how many places it is still held.
CREATE TABLE held (
    message INTEGER PRIMARY KEY,
    places INTEGER NOT NULL
);
