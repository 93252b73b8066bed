-- Delete a little of what is to be kept no longer. ARGV[1] is packed: what ('inboxes' or 'conversations' and the time before
-- which messages go, or 'count' and how many are kept of an inbox and of a conversation); how many entries and bytes of
-- messages this may touch; and for how many milliseconds. Or 'look', a count, three numbers, and
-- names: which of them hold more. Returns whether there may be more to do (1 or 0).
--
-- A message goes when neither its conversation nor an inbox holds it: so what a conversation holds no longer is hidden
-- there, and deleted by whoever lets go of it last. What is too old is too old for both: it goes from all inboxes first,
-- so that none names what is gone.

local b = cmsgpack.unpack(ARGV[1])
local what, bound, entries_left, bytes_left = b[1], b[2], b[3], b[4]

-- (A server whose time stands still within a script is bounded by the others.)
local function micros()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local stop_at = micros() + b[5] * 1000

local function is_spent()
  return entries_left <= 0 or bytes_left <= 0 or micros() >= stop_at
end

local function is_room(conversation)
  return sub(conversation, 1, 1) == '#'
end

local function users(conversation)
  local length, both = match(conversation, '^(%d+):(.*)$')
  return sub(both, 1, length), sub(both, length + 1)
end

local function time_of(id)
  return tonumber(match(id, '^%d+'))
end

local function remove(conversation, entry)
  for at = 5, #entry[2], 2 do
    if entry[2][at] == 'd' then
      local length, names = match(entry[2][at + 1], '^(%d+) (.*)$')
      call('HDEL', p .. 'd:' .. sub(names, 1, length), sub(names, length + 1))
    end
  end
  if is_room(conversation) then
    call('HDEL', p .. 'n:' .. conversation, entry[1])
  end
  call('XDEL', p .. 'c:' .. conversation, entry[1])
end

-- From here on a conversation begins behind this entry. In a room, which members' own messages are hidden with it.
local function hide(conversation, entry, senders)
  local total, own, _, who = facts(entry)
  local first = 0
  if not is_room(conversation) then
    first = who == '1' and own or total - own
  else
    for sender in pairs(senders) do
      call('ZREMRANGEBYSCORE', own_key(conversation, sender), '-inf', total)
    end
  end
  call('HSET', p .. 'h:' .. conversation, 'f', behind(entry[1]), 'ft', total, 'fa', first)
end

-- The oldest that the inboxes of two users hold, by side; it stays the same while one of their conversations is looked at.
local function oldest_held(conversation)
  local oldest = {}
  for side, user in ipairs({users(conversation)}) do
    local first = call('XRANGE', p .. 'i:' .. user, '-', '+', 'COUNT', 1)[1]
    oldest[side] = first and first[1]
  end
  return oldest
end

local function is_held(conversation, entry, oldest)
  if is_room(conversation) then
    return tonumber(call('HGET', p .. 'n:' .. conversation, entry[1]) or 0) > 0
  end
  local _, _, place, who = facts(entry)
  local first = oldest[who == '1' and 2 or 1]
  return first and not before(place, first)
end

-- Walk through a conversation from one id up to another, for so many entries and as long as this may. Does ``each`` with
-- each entry, hides them all; how many they were.
local function hide_from(conversation, from, upto, most, each)
  local key, last, senders, count = p .. 'c:' .. conversation, nil, {}, 0
  while count < most and not is_spent() do
    -- One by one, since nobody knows how large they are.
    local entry = call('XRANGE', key, from, upto, 'COUNT', 1)[1]
    if not entry then
      break
    end
    local _, _, _, who = facts(entry)
    senders[who] = true
    each(entry)
    count, last, from = count + 1, entry, '(' .. entry[1]
    entries_left, bytes_left = entries_left - 1, bytes_left - #entry[2][2]
  end
  if last then
    local begin = hidden(conversation)
    if begin == '-' or not before(last[1], begin) then
      hide(conversation, last, senders)
    end
  end
  return count
end

-- An inbox holds this message no longer.
local function release(conversation, id, begin)
  local held = false
  if is_room(conversation) and call('HEXISTS', p .. 'n:' .. conversation, id) == 1 then
    held = call('HINCRBY', p .. 'n:' .. conversation, id, -1) > 0
  end
  if not held and begin ~= '-' and before(id, begin) then
    local entry = call('XRANGE', p .. 'c:' .. conversation, id, id)[1]
    if entry then
      bytes_left = bytes_left - #entry[2][2]
      remove(conversation, entry)
    end
  end
end

local function trim(key, entry)
  call('XTRIM', key, 'MINID', '=', behind(entry[1]))
end

-- An inbox has been empty for as long as messages are kept. When its user was not seen for as long either, nothing of it is
-- kept: 'gone', or when to look again. New inboxes begin beyond what this one gave.
local function forget_user(user)
  local seen = tonumber(call('HGET', p .. 'u:' .. user, 's') or 0)
  if seen >= bound then
    return seen
  end
  local key = p .. 'i:' .. user
  local last = last_of(key)
  if last > 0 then
    local global = call('HMGET', p .. 'g', 'generation', 'floor')
    local given = last - (tonumber(global[1]) - 1) * GENERATION
    if given > tonumber(global[2] or 0) then
      call('HSET', p .. 'g', 'floor', format('%.0f', given))
    end
  end
  call('DEL', key, p .. 'u:' .. user)
  return 'gone'
end

-- Each takes out of one what is too old: 'gone', or when its oldest is from, or nothing where there may be more to do.

local function inbox_by_age(user)
  local key = p .. 'i:' .. user
  local most, old = math.min(entries_left, 100)
  local entries = call('XRANGE', key, '-', '+', 'COUNT', most)
  for _, entry in ipairs(entries) do
    entries_left = entries_left - 1
    if time_of(entry[2][2]) >= bound then
      if old then
        trim(key, old)
      end
      return time_of(entry[2][2])
    end
    old = entry
  end
  if not old then
    return forget_user(user)
  end
  trim(key, old)
  if #entries < most then
    return math.max(server_ms(), bound)
  end
end

local function conversation_by_age(conversation)
  local key = p .. 'c:' .. conversation
  hide_from(conversation, '-', '(' .. format('%.0f', bound) .. '-0', math.huge, function(entry)
    remove(conversation, entry)
  end)
  local oldest = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if oldest then
    local time = time_of(oldest[1])
    return time >= bound and time or nil
  end
  if is_room(conversation) then
    if call('HLEN', p .. 'm:' .. conversation) > 0 then
      return math.max(server_ms(), bound)
    end
  else
    local one, other = users(conversation)
    call('ZREM', p .. 'v:' .. one, '1' .. conversation)
    call('ZREM', p .. 'v:' .. other, '2' .. conversation)
  end
  call('DEL', key, p .. 'h:' .. conversation, p .. 'n:' .. conversation)
  return 'gone'
end

-- Each takes out of one what is too many; whether there may be more to do.

local function conversation_by_count(conversation)
  local from, gone = hidden(conversation)
  local excess = tonumber(call('HGET', p .. 'h:' .. conversation, 't') or 0) - gone - bound
  if excess <= 0 then
    return
  end
  local oldest = not is_room(conversation) and oldest_held(conversation)
  local count = hide_from(conversation, from, '+', excess, function(entry)
    if not is_held(conversation, entry, oldest) then
      remove(conversation, entry)
    end
  end)
  return count < excess and is_spent()
end

local function inbox_by_count(user)
  local key = p .. 'i:' .. user
  local excess = call('XLEN', key) - bound
  local begins, count, last = {}, 0, nil
  while count < excess and not is_spent() do
    local from = last and '(' .. last[1] or '-'
    local entries = call('XRANGE', key, from, '+', 'COUNT', math.min(excess - count, entries_left, 100))
    if #entries == 0 then
      break
    end
    for _, entry in ipairs(entries) do
      local conversation = entry[2][4]
      begins[conversation] = begins[conversation] or hidden(conversation)
      release(conversation, entry[2][2], begins[conversation])
      entries_left, count, last = entries_left - 1, count + 1, entry
      if is_spent() then
        break
      end
    end
  end
  if last then
    trim(key, last)
  end
  return count < excess and is_spent()
end

local function count_of(name)
  local of = sub(name, 2)
  if sub(name, 1, 1) == 'i' then
    return call('XLEN', p .. 'i:' .. of)
  end
  local _, gone = hidden(of)
  return tonumber(call('HGET', p .. 'h:' .. of, 't') or 0) - gone
end

local function look()
  for at = 6, #b do
    local fine, many = pcall(count_of, b[at])
    if fine and many > bound then
      call('SADD', p .. 'x:full', b[at])
    end
  end
  return 0
end

-- To look at one that has nothing to delete counts as an entry as well. A key that is somebody else's is left alone, and keeps
-- no other from being looked at.

local function sweep_by_age(index, by_age)
  while not is_spent() do
    local name = call('ZRANGEBYSCORE', index, '-inf', '(' .. format('%.0f', bound), 'LIMIT', 0, 1)[1]
    if not name then
      return 0
    end
    local fine, oldest = pcall(by_age, sub(name, 2))
    if not fine then
      oldest = math.max(server_ms(), bound)
    end
    if oldest == 'gone' then
      call('ZREM', index, name)
    elseif oldest then
      call('ZADD', index, format('%.0f', oldest), name)
    end
    entries_left = entries_left - 1
  end
  return 1
end

local function sweep_by_count()
  while not is_spent() do
    local name = call('SPOP', p .. 'x:full')
    if not name then
      return 0
    end
    local by_count = sub(name, 1, 1) == 'i' and inbox_by_count or conversation_by_count
    local fine, more = pcall(by_count, sub(name, 2))
    if fine and more then
      call('SADD', p .. 'x:full', name)
    end
    entries_left = entries_left - 1
  end
  return 1
end

if what == 'look' then
  return look()
elseif what == 'inboxes' then
  return sweep_by_age(p .. 'x:age:i', inbox_by_age)
elseif what == 'conversations' then
  if bound > swept_until() then
    call('HSET', p .. 'g', 'age', format('%.0f', bound))
  end
  return sweep_by_age(p .. 'x:age:c', conversation_by_age)
end
return sweep_by_count()
