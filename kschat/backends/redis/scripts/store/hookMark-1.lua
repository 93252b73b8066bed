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
for _, user in ipairs(users) do
  if length < most then
    length = length + call('ZADD', marks, number, user)
  else
    call('ZADD', marks, 'XX', number, user)
  end
end
return 'ok'
