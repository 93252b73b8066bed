-- From version 4 to version 5: what lists of conversations show, and how many rooms a user is in.

-- The line of a message whose msg is long or has binary (see `kschat/chat/lines.py`). Other messages have no row here.
CREATE TABLE lines (
    message INTEGER PRIMARY KEY,
    line BLOB NOT NULL
);

-- How many rooms a user is a member of.
ALTER TABLE users ADD COLUMN rooms INTEGER NOT NULL DEFAULT 0;
UPDATE users SET rooms = counted.rooms FROM (
    SELECT p.user, count(*) AS rooms FROM conversations c CROSS JOIN participants p ON p.conversation = c.id
    WHERE c.room IS NOT NULL GROUP BY p.user
) AS counted WHERE counted.user = users.id;
