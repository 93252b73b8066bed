-- The newest messages of a conversation, newest first. ARGV: the user, the conversation, 1 where it is a room, the id before
-- which ('' for the end), how many at the most. Returns of each its id and the rest of it, in one list.

local conversation, limit = ARGV[2], tonumber(ARGV[5])
if ARGV[3] == '1' and call('HEXISTS', p .. 'm:' .. conversation, ARGV[1]) == 0 then
  return {}
end
local upto = ARGV[4] == '' and '+' or '(' .. ARGV[4]
local found = {}
for _, entry in ipairs(call('XREVRANGE', p .. 'c:' .. conversation, upto, (hidden(conversation)), 'COUNT', limit)) do
  found[#found + 1] = entry[1]
  found[#found + 1] = entry[2][2]
end
return found
