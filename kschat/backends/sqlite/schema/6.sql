-- From version 5 to version 6: edits, deletions and reactions.

-- NULL for a message as it was sent. What became of it since, or that the row is an update of another message: then
-- `total` and `own` are 0, it is in no thread, and it has `places` also where there is a recipient. Msgpack; see
-- `Update` and `Changes` in `kschat/chat/message.py`.
ALTER TABLE messages ADD COLUMN extra BLOB;
