-- Returns the last-seen times of many users.
--
-- Input:
--   ARGV[1]  msgpack: the users
-- Output:
--   the time of each, in milliseconds, in their order; '' if unknown
--
-- Flags: no-writes

-- @include "base"

local seen = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  local found = pcall_redis('HGET', prefix .. 'u:' .. user, 's')
  seen[at] = type(found) == 'string' and found or ''
end
return seen
