-- What several scripts use; it stands before each. KEYS[1] is the prefix of all keys (see `store`).

local p = KEYS[1]
local call = redis.call
local floor, format, match, sub = math.floor, string.format, string.match, string.sub

-- An inbox's offset 1 is the id 1-0 of its stream, and each generation begins at a multiple of this.
local GENERATION = 4194304
-- Beyond so many offsets of one inbox the next generation begins; one batch has far fewer.
local SPILL = GENERATION - 262144
-- Generations are numbered by seconds since 2026 where that is more. So many of them fit into a double.
local YEAR_2026, GENERATIONS = 1767225600, 2147483648

-- Bytes of messages after which a page is cut; the last message may go beyond.
local PAGE_BYTES = 1000000

local function server_ms()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end

-- Why a script that writes may do nothing: 'late', or 'again'. Its argument begins with the server's time at which it is too
-- late; who writes; and that one's turn. When a batch was too much for one call, the writer's calls of the same turn, which
-- came behind it, are to be made again behind its parts.
local function refused(now, argument)
  if now > argument[1] then
    return 'late'
  end
  local held = call('GET', p .. 'x:w:' .. argument[2])
  if held and tonumber(held) >= argument[3] then
    return 'again'
  end
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

-- A generation that nobody was given offsets of. Whoever puts an older copy of this Redis in place puts older generations
-- there as well; the time it is tells a later one without anybody's having to remember the last.
local function next_generation(known)
  local passed = floor(server_ms() / 1000) - YEAR_2026
  return math.max(known + 1, passed < GENERATIONS - 1048576 and passed or 0)
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

-- The first entry of an inbox whose message is not older than this, in milliseconds; nothing where there is none. Messages are
-- in an inbox in the order of their time.
local function first_since(key, ms, last)
  local low, high, found = 1, last, nil
  while low <= high do
    local middle = floor((low + high) / 2)
    local entry = call('XRANGE', key, id_of(middle), '+', 'COUNT', 1)[1]
    if not entry then
      high = middle - 1
    elseif tonumber(match(entry[2][2], '^%d+')) < ms then
      low = offset_of(entry[1]) + 1
    else
      found, high = entry, middle - 1
    end
  end
  return found
end

-- The time before which messages may be gone from conversations, though inboxes may still name some of them.
local function swept_until()
  return tonumber(call('HGET', p .. 'g', 'age') or 0)
end

-- The first offset of an inbox that is kept; last + 1 where none is.
local function first_of(key, last)
  local age, from = nil, '-'
  for count = 1, 10, 9 do
    local entries = call('XRANGE', key, from, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      age = age or swept_until()
      local id = entry[2][2]
      if tonumber(match(id, '^%d+')) >= age or call('XRANGE', p .. 'c:' .. entry[2][4], id, id)[1] then
        return offset_of(entry[1])
      end
    end
    if #entries < count then
      return last + 1
    end
    from = '(' .. entries[count][1]
  end
  local entry = first_since(key, age, last)
  return entry and offset_of(entry[1]) or last + 1
end

-- Of a message in a conversation: how many there were with it, how many of them its sender's; the id in the
-- recipient's inbox ('-' in a room); and who sent it: the side of two (1 or 2), or a room's member.
local function facts(entry)
  local total, own, place, who = match(entry[2][4], '^(%d+) (%d+) (%S+) (.*)$')
  return tonumber(total), tonumber(own), place, who
end

-- A message as it is answered with: the rest of it, its facts, its packed places in a room.
local function as_told(entry)
  local fields = entry[2]
  for at = 5, #fields, 2 do
    if fields[at] == 'p' then
      return {fields[2], fields[4], fields[at + 1]}
    end
  end
  return {fields[2], fields[4], ''}
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

-- How a conversation stands for one who may see it: how many messages of others there were, how many of them are
-- read or gone, and the id that what is not hidden begins with. Side is 1 or 2, or 0 for a room. Nothing for one who may not.
local function standing(conversation, side, user)
  local from, total_before, first_before = hidden(conversation)
  if side == 0 then
    local own, read = membership(conversation, user)
    if not own then
      return
    end
    local total = tonumber(call('HGET', p .. 'h:' .. conversation, 't') or 0)
    if total_before > read then
      read = math.max(read, total_before - own_among(conversation, user, total_before, own))
    end
    return total - own, read, from
  end
  local state = call('HMGET', p .. 'h:' .. conversation, 't', 'a', 'r' .. side)
  if not state[1] then
    return
  end
  local total, first, read = tonumber(state[1]), tonumber(state[2]), tonumber(state[3]) or 0
  if side == 1 then
    return total - first, math.max(read, total_before - first_before), from
  end
  return first, math.max(read, first_before), from
end
