-- The conversations of a user, newest first. ARGV: the user, how many at the most. Returns a list of side and
-- conversation, the newest message's id, the rest of it, and how many of others' are unread.

local user, limit = ARGV[1], tonumber(ARGV[2])
local list = p .. 'v:' .. user
-- The list is behind by a minute at the most: so whatever may belong to the newest is looked at.
local border = call('ZREVRANGE', list, limit - 1, limit - 1, 'WITHSCORES')
local least = border[2] and format('%.0f', border[2] - 61000) or '-inf'
local found = {}
for _, name in ipairs(call('ZREVRANGEBYSCORE', list, '+inf', least)) do
  local conversation = sub(name, 2)
  local newest = call('XREVRANGE', p .. 'c:' .. conversation, '+', (hidden(conversation)), 'COUNT', 1)[1]
  if newest then
    local ms, seq = match(newest[1], '^(%d+)-(%d+)$')
    found[#found + 1] = {name, newest, tonumber(ms), tonumber(seq)}
  end
end
table.sort(found, function(one, other)
  return one[3] > other[3] or (one[3] == other[3] and one[4] > other[4])
end)
local answer = {}
for at = 1, math.min(limit, #found) do
  local name, newest = found[at][1], found[at][2]
  local others, read = standing(sub(name, 2), tonumber(sub(name, 1, 1)), user)
  if others then
    answer[#answer + 1] = {name, newest[1], newest[2][2], others - read}
  end
end
return answer
