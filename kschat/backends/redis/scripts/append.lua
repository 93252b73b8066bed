-- Keep a batch, all of it or nothing. ARGV[1] is packed: the server's time at which it is too late; how many messages a
-- conversation keeps (0: all); and of each message its sender, recipient, conversation, the sender's side of it (0: it is a
-- room), its cid ('' for none), its number (milliseconds, count), and the rest, which is not looked into.
-- Returns the server's time and 'ok', then the offset of each message, 0 for those that are told of further behind:
-- {which, 'n', its id, offset}     it has a later number than was given
-- {which, 'p', its id, packed places}   it went to a room
-- {which, 'r', id, the rest, facts, packed places}   it is a repeat of that
-- {which, 'x'}   its sender is no member of the room
-- Or 'late' or 'new', when nothing was done; or 'error' and why, when it was undone.

local b = cmsgpack.unpack(ARGV[1])
local try, push = redis.pcall, table.insert
local now = server_ms()
if now > b[1] then
  return {now, 'late'}
end
local most = b[2]
local global = call('HMGET', p .. 'g', 'epoch', 'generation', 'ms', 'seq')
if not global[1] then
  return {now, 'new'}
end
local base, star, skip = (global[2] - 1) * GENERATION + 1, global[2] .. '-*', #global[2] + 2
local last_ms, last_seq = tonumber(global[3]) or 0, tonumber(global[4]) or 0
-- What was written, to undo it: streams and ids; and threes of a command, a key and its other arguments.
local added, adds = {}, 0
local done, count = {}, 0
-- The conversations that were looked at, by name and in order. Of each: total, side 1's, when it was last listed, how many
-- are not hidden, whether it is new, whether it was written to; a sender, a recipient, the sender's side; its keys.
local states, names, known = {}, {}, 0
local rooms = {}
local begun, full = {}, {}
local offsets = {}
local answer = {now, 'ok', offsets}

local function undone(error)
  for at = 1, adds, 2 do
    try('XDEL', added[at], added[at + 1])
  end
  for at = count, 3, -3 do
    try(done[at - 2], done[at - 1], unpack(done[at]))
  end
  return {now, 'error', error.err or tostring(error)}
end

local function noted(command, key, arguments)
  done[count + 1], done[count + 2], done[count + 3] = command, key, arguments
  count = count + 3
end

for at = 3, #b, 8 do
  local which = (at - 3) / 8 + 1
  local sender, recipient, conversation, side, cid, ms, seq, rest = unpack(b, at, at + 7)
  local later = ms < last_ms or (ms == last_ms and seq <= last_seq)
  if later then
    ms, seq = last_ms, last_seq + 1
    if seq > 65535 then
      ms, seq = ms + 1, 0
    end
  end
  local id = format('%.0f-%.0f', ms, seq)
  local state = states[conversation]
  if not state then
    local counts = p .. 'h:' .. conversation
    local found = try('HMGET', counts, 't', 'a', 'z', 'ft')
    if found.err then
      return undone(found)
    end
    local total = tonumber(found[1]) or 0
    state = {
      total, tonumber(found[2]) or 0, tonumber(found[3]) or 0, total - (tonumber(found[4]) or 0), not found[1], false,
      sender, recipient, side, counts, p .. 'c:' .. conversation,
    }
    known = known + 1
    states[conversation], names[known] = state, conversation
  end
  local member, room
  if side == 0 then
    member = try('HGET', p .. 'm:' .. conversation, sender)
    if type(member) == 'table' then
      return undone(member)
    end
    room = rooms[conversation]
    if member and not room then
      room = {call('HKEYS', p .. 'm:' .. conversation), {}}
      for nth, name in ipairs(room[1]) do
        room[2][nth] = p .. 'i:' .. name
      end
      rooms[conversation] = room
    end
  end
  local first
  if cid ~= '' and (side ~= 0 or member) then
    local key = p .. 'd:' .. sender
    local fresh = try('HSETNX', key, cid, id .. ' ' .. conversation)
    if fresh == 0 then
      local earlier = call('HGET', key, cid)
      local first_id, where = match(earlier, '^(%S+) (.*)$')
      local found = try('XRANGE', p .. 'c:' .. where, first_id, first_id)
      if found.err then
        return undone(found)
      end
      first = found[1]
      if not first then -- what it was of is kept no longer
        call('HSET', key, cid, id .. ' ' .. conversation)
        noted('HSET', key, {cid, earlier})
      end
    elseif fresh == 1 then
      noted('HDEL', key, {cid})
    else
      return undone(fresh)
    end
  elseif cid ~= '' then
    -- Who was a member when it was written first, and is none any more, is told what became of it.
    local known = try('HGET', p .. 'd:' .. sender, cid)
    if type(known) == 'table' then
      return undone(known)
    end
    if known then
      local first_id, where = match(known, '^(%S+) (.*)$')
      local found = try('XRANGE', p .. 'c:' .. where, first_id, first_id)
      if found.err then
        return undone(found)
      end
      first = found[1]
    end
  end
  if first then
    offsets[which] = 0
    local rest_of, facts_of, places = first[2][2], first[2][4], ''
    for field = 5, #first[2], 2 do
      if first[2][field] == 'p' then
        places = first[2][field + 1]
      end
    end
    push(answer, {which, 'r', first[1], rest_of, facts_of, places})
  elseif side == 0 and not member then
    offsets[which] = 0
    push(answer, {which, 'x'})
  else
    local place, own, who, places, packed
    state[1] = state[1] + 1
    if side == 0 then
      places = {}
      local names_of, inboxes, filled = room[1], room[2], 0
      for nth = 1, #names_of do
        local name = names_of[nth]
        if name ~= sender then
          local key = inboxes[nth]
          local given = try('XADD', key, star, 'n', id, 'c', conversation)
          if type(given) == 'table' then
            return undone(given)
          end
          added[adds + 1], added[adds + 2], adds = key, given, adds + 2
          local theirs = base + tonumber(sub(given, skip))
          places[filled + 1], places[filled + 2], filled = name, theirs, filled + 2
          if theirs == base then
            begun['i' .. name] = ms
          end
          if most > 0 then
            full['i' .. name] = true
          end
        end
      end
      packed = cmsgpack.pack(places)
      local mine, read = match(member, '^(%d+) (%d+)$')
      own, who, place = mine + 1, sender, '-'
      call('HSET', p .. 'm:' .. conversation, sender, own .. ' ' .. read)
      noted('HSET', p .. 'm:' .. conversation, {sender, member})
      local listed = try('ZADD', own_key(conversation, sender), state[1], own)
      if type(listed) == 'table' then
        return undone(listed)
      end
      noted('ZREM', own_key(conversation, sender), {own})
      if most > 0 and #places > 0 then
        local counted = try('HSET', p .. 'n:' .. conversation, id, #places / 2)
        if type(counted) == 'table' then
          return undone(counted)
        end
        noted('HDEL', p .. 'n:' .. conversation, {id})
      end
      offsets[which] = 0
      push(answer, {which, 'p', id, packed})
    else
      local key = p .. 'i:' .. recipient
      place = try('XADD', key, star, 'n', id, 'c', conversation)
      if type(place) == 'table' then
        return undone(place)
      end
      added[adds + 1], added[adds + 2], adds = key, place, adds + 2
      local offset = base + tonumber(sub(place, skip))
      if offset == base then
        begun['i' .. recipient] = ms
      end
      if most > 0 then
        full['i' .. recipient] = true
      end
      if side == 1 then
        state[2] = state[2] + 1
        own = state[2]
      else
        own = state[1] - state[2]
      end
      who = side
      if later then
        offsets[which] = 0
        push(answer, {which, 'n', id, offset})
      else
        offsets[which] = offset
      end
    end
    local key, kept = state[11], state[1] .. ' ' .. own .. ' ' .. place .. ' ' .. who
    local kept_as
    if cid == '' then
      kept_as = try('XADD', key, id, 'm', rest, 's', kept)
    elseif packed then
      kept_as = try('XADD', key, id, 'm', rest, 's', kept, 'd', #sender .. ' ' .. sender .. cid, 'p', packed)
    else
      kept_as = try('XADD', key, id, 'm', rest, 's', kept, 'd', #sender .. ' ' .. sender .. cid)
    end
    if type(kept_as) == 'table' then
      return undone(kept_as)
    end
    added[adds + 1], added[adds + 2], adds = key, id, adds + 2
    last_ms, last_seq = ms, seq
    if state[5] then
      begun['c' .. conversation] = ms
      state[5] = false
    end
    state[4] = state[4] + 1
    if most > 0 and state[4] > most then
      full['c' .. conversation] = true
    end
    state[6] = true
  end
end

-- From here on nothing can fail: what is written to was read before, or is an index that can do without.
for at = 1, known do
  local conversation = names[at]
  local state = states[conversation]
  if state[6] then
    -- A user's list of conversations is up to date but for a minute, so that most messages need not touch it.
    -- (The server's clock may have been set back since.)
    if now - state[3] >= 60000 or now < state[3] then
      local sender, recipient, side = state[7], state[8], state[9]
      state[3] = now
      if side == 0 then
        for _, name in ipairs(rooms[conversation][1]) do
          try('ZADD', p .. 'v:' .. name, now, '0' .. conversation)
        end
      else
        try('ZADD', p .. 'v:' .. sender, now, side .. conversation)
        if sender ~= recipient then
          try('ZADD', p .. 'v:' .. recipient, now, 3 - side .. conversation)
        end
      end
    end
    call('HSET', state[10], 't', state[1], 'a', state[2], 'z', state[3])
  end
end
for name, ms in pairs(begun) do
  try('ZADD', p .. 'x:age', 'NX', ms, name)
end
if most > 0 then
  for name in pairs(full) do
    try('SADD', p .. 'x:full', name)
  end
end
call('HSET', p .. 'g', 'ms', format('%.0f', last_ms), 'seq', last_seq)
return answer
