-- From version 2 to version 3: messages whose ids run ahead of their time, since the clock was wrong before (see `age`).
CREATE INDEX late ON messages (time) WHERE time < (id >> 16) - 60000 AND time >= (id >> 16) - 2592000000;
