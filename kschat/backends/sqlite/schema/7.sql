-- From version 6 to version 7: users may be erased.

-- Offsets up to this one were given, also where the newest message of the inbox was erased.
ALTER TABLE users ADD COLUMN given INTEGER NOT NULL DEFAULT 0;

-- The greatest offset in an inbox that was erased: new inboxes begin beyond it, since its user may come back.
ALTER TABLE progress ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
