-- Returns users with undelivered messages who are to be looked at, the first one first.
--
-- Input:
--   ARGV[1]  up to which time, in milliseconds
--   ARGV[2]  how many at the most
-- Output:
--   of each: the user, the time, the last offset of which an event has told
--
-- Flags: no-writes

-- @include "base"

local found = call('ZRANGEBYSCORE', prefix .. 'x:hook:waiting', '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local listed = {}
for at = 1, #found, 2 do
  listed[#listed + 1] = found[at]
  listed[#listed + 1] = found[at + 1]
  listed[#listed + 1] = call('HGET', prefix .. 'x:hook:told', found[at]) or '0'
end
return listed
