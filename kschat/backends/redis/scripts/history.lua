-- The newest messages of a conversation, newest first. ARGV: the user, the conversation, 1 where it is a room, the id before
-- which ('' for the end), how many at the most. The page is cut at some bytes. Returns whether there are older ones (1 or
-- 0), and of each its id and the rest of it, in one list.

local conversation, limit = ARGV[2], tonumber(ARGV[5])
if ARGV[3] == '1' and call('HEXISTS', p .. 'm:' .. conversation, ARGV[1]) == 0 then
  return {0, {}}
end
local key, from = p .. 'c:' .. conversation, (hidden(conversation))
local upto = ARGV[4] == '' and '+' or '(' .. ARGV[4]
local found, filled, bytes = {}, 0, 0
while true do
  -- One by one, since nobody knows how large they are.
  local entry = call('XREVRANGE', key, upto, from, 'COUNT', 1)[1]
  if not entry then
    return {0, found}
  end
  if filled >= 2 * limit or bytes >= PAGE_BYTES then
    return {1, found}
  end
  local rest = entry[2][2]
  found[filled + 1], found[filled + 2] = entry[1], rest
  filled, bytes = filled + 2, bytes + #rest
  upto = '(' .. entry[1]
end
