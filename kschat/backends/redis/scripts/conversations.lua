-- The conversations of a user, newest first. ARGV: the user, how many at the most, how many may be looked at. Returns a list of
-- side and conversation, the newest message's id, the rest of it ('' beyond some bytes: see ``messages``), and how many of others' are unread.

local user, limit = ARGV[1], tonumber(ARGV[2])
local list = p .. 'v:' .. user
-- The list is behind by a minute at the most: so whatever may belong to the newest is looked at. (Of somebody who has many
-- more than these within one minute it may be others than the very newest.)
local border = call('ZREVRANGE', list, limit - 1, limit - 1, 'WITHSCORES')
local least = border[2] and format('%.0f', border[2] - 61000) or '-inf'
local found = {}
for _, name in ipairs(call('ZREVRANGEBYSCORE', list, '+inf', least, 'LIMIT', 0, tonumber(ARGV[3]))) do
  local newest = call('HGET', p .. 'h:' .. sub(name, 2), 'l')
  if newest then
    local ms, seq = match(newest, '^(%d+)-(%d+)$')
    found[#found + 1] = {name = name, id = newest, ms = tonumber(ms), seq = tonumber(seq)}
  end
end
table.sort(found, function(one, other)
  return one.ms > other.ms or (one.ms == other.ms and one.seq > other.seq)
end)
local answer, bytes = {}, 0
for _, one in ipairs(found) do
  if #answer >= limit then
    break
  end
  local conversation = sub(one.name, 2)
  local others, read, from = standing(conversation, tonumber(sub(one.name, 1, 1)), user)
  if others and (from == '-' or not before(one.id, from)) then
    local rest = ''
    if bytes < PAGE_BYTES then
      local entry = call('XRANGE', p .. 'c:' .. conversation, one.id, one.id)[1]
      rest = entry and entry[2][2]
    end
    if rest then
      bytes = bytes + #rest
      answer[#answer + 1] = {one.name, one.id, rest, others - read}
    end
  end
end
return answer
