-- Returns the state of an inbox.
--
-- Input:
--   ARGV[1]  the user
-- Output:
--   the cursor; the first offset that is kept; the last that was assigned
--
-- Flags: no-writes

-- @include "inboxEnd"
-- @include "inboxStart"

local key = prefix .. 'i:' .. ARGV[1]
local last = inbox_end(key)
return {tonumber(call('HGET', prefix .. 'u:' .. ARGV[1], 'c') or 0), inbox_start(key, last), last}
