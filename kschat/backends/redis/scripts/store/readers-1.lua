-- Who has marked a message in a room as read, of those that were members when it was sent, and still are.
--
-- Input:
--   ARGV[1]  the room
--   ARGV[2]  the user who asks
--   ARGV[3]  the id of the message
-- Output:
--   1, and the users; 0 if the user who asks is not a member, or if there is no such message
--
-- Flags: no-writes

-- @include "facts"
-- @include "ownAmong"

local room, user, id = ARGV[1], ARGV[2], ARGV[3]
local entry = call('XRANGE', prefix .. 'c:' .. room, id, id)[1]
if not entry or call('HEXISTS', prefix .. 'm:' .. room, user) == 0 then
  return {0}
end
local message, found = facts(entry), {1}
local members = call('HGETALL', prefix .. 'm:' .. room)
for at = 1, #members, 2 do
  local name = members[at]
  local own, read = match(members[at + 1], '^(%d+) (%d+)$')
  local joined = tonumber(call('HGET', prefix .. 'j:' .. room, name) or 0)
  if name ~= message.sender and joined < message.total then
    if tonumber(read) >= message.total - own_among(room, name, message.total, tonumber(own)) then
      found[#found + 1] = name
    end
  end
end
return found
