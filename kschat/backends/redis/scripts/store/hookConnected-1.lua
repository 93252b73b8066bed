-- Returns who is known to hooks as connected.
--
-- Input:
--   ARGV[1]  msgpack: users
-- Output:
--   of each 1 or 0
--
-- Flags: no-writes

-- @include "base"

local found = {}
for nth, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  found[nth] = call('SISMEMBER', prefix .. 'x:hook:connected', user)
end
return found
