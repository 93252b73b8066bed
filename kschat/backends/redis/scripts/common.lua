-- What several scripts use; it stands before each. KEYS[1] is the prefix of all keys (see `store`).

local p = KEYS[1]
local call = redis.call
local floor, format, match, sub = math.floor, string.format, string.match, string.sub

-- An inbox's offset 1 is the id 1-0 of its stream, and each generation begins at a multiple of this.
local GENERATION = 4294967296

local function server_ms()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end

-- The offset that an id of an inbox's stream means, and the id of an offset from 1 on.
local function offset_of(id)
  local generation, seq = match(id, '^(%d+)-(%d+)$')
  return (generation - 1) * GENERATION + seq + 1
end

local function id_of(offset)
  local generation = floor((offset - 1) / GENERATION)
  return format('%.0f-%.0f', generation + 1, offset - 1 - generation * GENERATION)
end

-- Whether one id of a conversation's stream is before another.
local function before(one, other)
  local ms, seq = match(one, '^(%d+)-(%d+)$')
  local other_ms, other_seq = match(other, '^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms < other_ms or (ms == other_ms and tonumber(seq) < tonumber(other_seq))
end

-- The id right behind another.
local function behind(id)
  local ms, seq = match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. format('%.0f', seq + 1)
end

-- The greatest offset that was given in an inbox; 0 where there is none.
local function last_of(key)
  local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if newest then
    return offset_of(newest[1])
  end
  if call('EXISTS', key) == 0 then
    return 0
  end
  local info = call('XINFO', 'STREAM', key)
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return offset_of(info[at + 1])
    end
  end
end

-- The smallest offset of an inbox that is kept; last + 1 where none is.
local function first_of(key, last)
  local from, count = '-', 1
  while true do
    local entries = call('XRANGE', key, from, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      -- What is too old goes from conversations first, and soon from here.
      if call('XRANGE', p .. 'c:' .. entry[2][4], entry[2][2], entry[2][2])[1] then
        return offset_of(entry[1])
      end
    end
    if #entries < count then
      return last + 1
    end
    from, count = '(' .. entries[count][1], 10
  end
end

-- Of a message in a conversation: how many there were with it, how many of them its sender's; the id in the
-- recipient's inbox ('-' in a room); and who sent it: the side of two (1 or 2), or a room's member.
local function facts(entry)
  local total, own, place, who = match(entry[2][4], '^(%d+) (%d+) (%S+) (.*)$')
  return tonumber(total), tonumber(own), place, who
end

-- What is not hidden of a conversation begins with this id; how many were before it, and how many of those by side 1.
local function hidden(conversation)
  local found = call('HMGET', p .. 'h:' .. conversation, 'f', 'ft', 'fa')
  return found[1] or '-', tonumber(found[2]) or 0, tonumber(found[3]) or 0
end

-- Of a room's member: how many messages are its own since it joined, and how many of others it has read.
local function membership(room, user)
  local found = call('HGET', p .. 'm:' .. room, user)
  if found then
    local own, read = match(found, '^(%d+) (%d+)$')
    return tonumber(own), tonumber(read)
  end
end

-- Where a member's own messages in a room are listed: each one's number among them, by its number in the room.
local function own_key(room, user)
  return p .. 'o:' .. #room .. ':' .. room .. user
end

-- How many of the first so many messages of a room are a member's own. All it has are ``own``; those that are gone are
-- listed no more, so that the list begins with the first that is kept.
local function own_among(room, user, total, own)
  local key = own_key(room, user)
  local last = call('ZREVRANGEBYSCORE', key, total, '-inf', 'LIMIT', 0, 1)[1]
  if last then
    return tonumber(last)
  end
  local first = call('ZRANGE', key, 0, 0)[1]
  return first and first - 1 or own
end

-- How a conversation stands for one who may see it: how many messages of others there were, and how many of them are
-- read or gone. Side is 1 or 2, or 0 for a room. Nothing for one who may not.
local function standing(conversation, side, user)
  local _, total_before, first_before = hidden(conversation)
  if side == 0 then
    local own, read = membership(conversation, user)
    if not own then
      return
    end
    local total = tonumber(call('HGET', p .. 'h:' .. conversation, 't') or 0)
    if total_before > read then
      read = math.max(read, total_before - own_among(conversation, user, total_before, own))
    end
    return total - own, read
  end
  local state = call('HMGET', p .. 'h:' .. conversation, 't', 'a', 'r' .. side)
  if not state[1] then
    return
  end
  local total, first, read = tonumber(state[1]), tonumber(state[2]), tonumber(state[3]) or 0
  if side == 1 then
    return total - first, math.max(read, total_before - first_before)
  end
  return first, math.max(read, first_before)
end
