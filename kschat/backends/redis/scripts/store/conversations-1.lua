-- The conversations of a user, newest first.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  how many at most
--   ARGV[3]  how many are examined: the user's list may be up to a minute out of date
--   ARGV[4]  the id that the newest message of each must come before; '' for any
-- Output:
--   for each its side and name; the newest message's id; that message without its number ('' beyond some bytes: see
--   messages); how many messages of others are unread; 1 if the message has its line only, or 0
--
-- Flags: no-writes

-- @include "headOf"
-- @include "ids"
-- @include "standing"
-- @include "pageBytes"

local user, limit, most_candidates, upto = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- Whatever may be among the newest, the newest first.
local function candidates()
  local list = prefix .. 'v:' .. user
  local border = upto == '' and call('ZREVRANGE', list, limit - 1, limit - 1, 'WITHSCORES') or {}
  local least = border[2] and format('%.0f', border[2] - 61000) or '-inf'
  local found = {}
  for _, name in ipairs(call('ZREVRANGEBYSCORE', list, '+inf', least, 'LIMIT', 0, most_candidates)) do
    local newest = call('HGET', prefix .. 'h:' .. sub(name, 2), 'l')
    if newest and (upto == '' or is_before(newest, upto)) then
      local ms, count = match(newest, '^(%d+)-(%d+)$')
      found[#found + 1] = {name = name, id = newest, ms = tonumber(ms), count = tonumber(count)}
    end
  end
  table.sort(found, function(one, other)
    return one.ms > other.ms or (one.ms == other.ms and one.count > other.count)
  end)
  return found
end

local listed, bytes = {}, 0

-- The message with its line, if it was stored with one.
local function line_of(conversation, id)
  local line = call('HGET', prefix .. 'h:' .. conversation, 'b')
  if line and sub(line, 1, #id) == id then
    -- ('=': it was changed, and this is the whole message.)
    return sub(line, #id + 2), sub(line, #id + 1, #id + 1) == '=' and 0 or 1
  end
end

local function list(candidate)
  local conversation, side = sub(candidate.name, 2), tonumber(sub(candidate.name, 1, 1))
  local now = standing(conversation, side, user)
  if not now or (now.from ~= '-' and is_before(candidate.id, now.from)) then
    return
  end
  local rest, cut = line_of(conversation, candidate.id)
  if not rest then
    rest, cut = '', 0
    if bytes < PAGE_BYTES then
      local entry = call('XRANGE', prefix .. 'c:' .. conversation, candidate.id, candidate.id)[1]
      if not entry then
        return
      end
      bytes = bytes + #entry[2][2]
      if bytes <= PAGE_BYTES then
        rest = head_of(entry[2][2])
      end
    end
  end
  listed[#listed + 1] = {candidate.name, candidate.id, rest, now.others - now.read, cut}
end

for _, candidate in ipairs(candidates()) do
  if #listed >= limit then
    break
  end
  list(candidate)
end
return listed
