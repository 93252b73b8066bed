-- Reports which users are on any daemon.
--
-- Input:
--   ARGV[1]  msgpack: the users
-- Output:
--   1 if a user on no daemon is known to be offline, or 0; a string with '1' or '0' for each user

-- @include "serverMilliseconds"

local found = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  found[at] = call('EXISTS', prefix .. 'on:' .. user)
end
local settled = (tonumber(call('GET', prefix .. 'settled')) or math.huge) <= server_milliseconds()
return {settled and 1 or 0, table.concat(found)}
