-- From version 1 to version 2: the rate of a sender on all daemons together.

-- When the user may send a full burst again, in microseconds since 1970 of the server's clock. Only where sending is
-- limited.
ALTER TABLE users ADD COLUMN full_at bigint;
