-- Returns the cursors of users.
--
-- Input:
--   ARGV[1]  msgpack: the users
-- Output:
--   of each its cursor, '' where none is known
--
-- Flags: no-writes

-- @include "base"

local found = {}
for nth, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  found[nth] = call('HGET', prefix .. 'u:' .. user, 'c') or ''
end
return found
