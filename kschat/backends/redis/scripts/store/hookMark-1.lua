-- Marks users whose sockets came or went.
--
-- Input:
--   ARGV[1]  msgpack: how many users may be marked; a list of users
-- Output:
--   'ok'

-- @include "base"

local most, users = unpack(cmsgpack.unpack(ARGV[1]))
local marks = prefix .. 'x:hook:marks'
local number, length = call('HINCRBY', prefix .. 'x:hook', 'mark', 1), call('ZCARD', marks)
local lost = 0
for _, user in ipairs(users) do
  if length < most then
    length = length + call('ZADD', marks, number, user)
  elseif call('ZADD', marks, 'XX', 'CH', number, user) == 0 then
    lost = lost + 1
  end
end
if lost > 0 then
  call('HINCRBY', prefix .. 'x:hook', 'lost_marks', lost)
end
return 'ok'
