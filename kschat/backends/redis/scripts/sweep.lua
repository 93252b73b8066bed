-- Delete a little of what is to be kept no longer. ARGV[1] is packed: 'age' and the time before which messages go, or
-- 'count' and how many are kept of an inbox and of a conversation; and how many messages this may touch. Or 'look', a count, a
-- number, and names as they are in x:age: which of them hold more. Returns whether there may be more to do (1 or 0).
--
-- A message goes when neither its conversation nor an inbox holds it: so what a conversation holds no longer is hidden
-- there, and deleted by whoever lets go of it last. What is too old is too old for both.

local b = cmsgpack.unpack(ARGV[1])
local what, bound, left = b[1], b[2], b[3]

local function is_room(conversation)
  return sub(conversation, 1, 1) == '#'
end

local function users(conversation)
  local length, both = match(conversation, '^(%d+):(.*)$')
  return sub(both, 1, length), sub(both, length + 1)
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

-- From here on a conversation begins behind the last of these entries, which are its oldest.
local function hide(conversation, entries)
  local entry = entries[#entries]
  local total, own, _, who = facts(entry)
  local first = 0
  if not is_room(conversation) then
    first = who == '1' and own or total - own
  else
    for _, one in ipairs(entries) do
      local _, _, _, sender = facts(one)
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

-- An inbox holds this message no longer.
local function release(conversation, id, from)
  local entry = call('XRANGE', p .. 'c:' .. conversation, id, id)[1]
  if not entry then
    return
  end
  local held = false
  if is_room(conversation) and call('HEXISTS', p .. 'n:' .. conversation, id) == 1 then
    held = call('HINCRBY', p .. 'n:' .. conversation, id, -1) > 0
  end
  if not held and from ~= '-' and before(id, from) then
    remove(conversation, entry)
  end
end

local function trim(key, entry)
  call('XTRIM', key, 'MINID', '=', behind(entry[1]))
end

-- Each takes out of one what is too old; when its oldest is from, or nothing where there may be more to do.

local function conversation_by_age(conversation)
  local key = p .. 'c:' .. conversation
  local most = left
  local old = call('XRANGE', key, '-', '(' .. format('%.0f', bound) .. '-0', 'COUNT', most)
  left = left - #old
  for _, entry in ipairs(old) do
    remove(conversation, entry)
  end
  if #old > 0 then
    local from = hidden(conversation)
    if from == '-' or not before(old[#old][1], from) then
      hide(conversation, old)
    end
  end
  if #old == most then
    return
  end
  local oldest = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if oldest then
    return match(oldest[1], '^%d+')
  end
  if is_room(conversation) then
    return math.max(server_ms(), bound)
  end
  local one, other = users(conversation)
  call('ZREM', p .. 'v:' .. one, '1' .. conversation)
  call('ZREM', p .. 'v:' .. other, '2' .. conversation)
  call('DEL', key, p .. 'h:' .. conversation)
  return 'gone'
end

local function inbox_by_age(user)
  local key = p .. 'i:' .. user
  local most, old = math.min(left, 20)
  local entries = call('XRANGE', key, '-', '+', 'COUNT', most)
  left = left - #entries
  for _, entry in ipairs(entries) do
    if tonumber(match(entry[2][2], '^%d+')) >= bound then
      if old then
        trim(key, old)
      end
      return match(entry[2][2], '^%d+')
    end
    old = entry
  end
  if old then
    trim(key, old)
    if #entries == most then
      return
    end
  end
  return math.max(server_ms(), bound)
end

-- Each takes out of one what is too many; whether there may be more to do.

local function conversation_by_count(conversation)
  local from, gone = hidden(conversation)
  local excess = tonumber(call('HGET', p .. 'h:' .. conversation, 't') or 0) - gone - bound
  if excess <= 0 then
    return
  end
  local most = left
  local entries = call('XRANGE', p .. 'c:' .. conversation, from, '+', 'COUNT', math.min(excess, most))
  if #entries == 0 then
    return
  end
  left = left - #entries
  local oldest = not is_room(conversation) and oldest_held(conversation)
  for _, entry in ipairs(entries) do
    if not is_held(conversation, entry, oldest) then
      remove(conversation, entry)
    end
  end
  hide(conversation, entries)
  return excess > most
end

local function inbox_by_count(user)
  local key = p .. 'i:' .. user
  local excess = call('XLEN', key) - bound
  if excess <= 0 then
    return
  end
  local most = left
  local entries = call('XRANGE', key, '-', '+', 'COUNT', math.min(excess, most))
  left = left - #entries
  local begins = {}
  for _, entry in ipairs(entries) do
    local conversation = entry[2][4]
    begins[conversation] = begins[conversation] or hidden(conversation)
    release(conversation, entry[2][2], begins[conversation])
  end
  trim(key, entries[#entries])
  return excess > most
end

local function count_of(name)
  local of = sub(name, 2)
  if sub(name, 1, 1) == 'i' then
    return call('XLEN', p .. 'i:' .. of)
  end
  local _, gone = hidden(of)
  return tonumber(call('HGET', p .. 'h:' .. of, 't') or 0) - gone
end

if what == 'look' then
  for at = 4, #b do
    local fine, many = pcall(count_of, b[at])
    if fine and many > bound then
      call('SADD', p .. 'x:full', b[at])
    end
  end
  return 0
end
-- To look at one that has nothing to delete counts as well.
while left > 0 do
  local name
  if what == 'age' then
    name = call('ZRANGEBYSCORE', p .. 'x:age', '-inf', '(' .. format('%.0f', bound), 'LIMIT', 0, 1)[1]
  else
    name = call('SPOP', p .. 'x:full')
  end
  if not name then
    return 0
  end
  local is_inbox, of = sub(name, 1, 1) == 'i', sub(name, 2)
  -- A key that is somebody else's is left alone, and keeps no other from being looked at.
  if what == 'age' then
    local fine, oldest = pcall(is_inbox and inbox_by_age or conversation_by_age, of)
    if not fine then
      oldest = math.max(server_ms(), bound)
    end
    if oldest == 'gone' then
      call('ZREM', p .. 'x:age', name)
    elseif oldest then
      call('ZADD', p .. 'x:age', oldest, name)
    end
  else
    local fine, more = pcall(is_inbox and inbox_by_count or conversation_by_count, of)
    if fine and more then
      call('SADD', p .. 'x:full', name)
    end
  end
  left = left - 1
end
return 1
