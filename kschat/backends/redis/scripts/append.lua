-- Keep a batch, all of it or nothing. ARGV[1] is packed: the server's time at which it is too late; who writes, and its
-- turn (see ``refused``); how many writes this may make; how many messages a conversation keeps (0: all); the last
-- number that the writer knows (milliseconds, count); and of each message its sender, recipient, conversation, the sender's
-- side of it (0: it is a room), its cid ('' for none), its number (milliseconds, count), and the rest, which is not looked into.
-- Returns the server's time and 'ok', the last number (milliseconds, count), the offset of each message, 0 for those that are
-- told of further behind:
-- {which, 'n', its id, offset}     it has a later number than was given
-- {which, 'p', its id, packed places}   it went to a room
-- {which, 'r', id, the rest, facts, packed places}   it is a repeat of that
-- {which, 'l', id, conversation}   it is a repeat of that, which is to be looked up (see ``messages``)
-- {which, 'x'}   its sender is no member of the room
-- Or 'late', 'again' or 'new', when nothing was done; or 'much', when nothing was done since it would be too many writes, and
-- each room with its size; or 'error' and why, when it was undone.

local batch = cmsgpack.unpack(ARGV[1])
local writer, turn, most_writes, most_kept = batch[2], batch[3], batch[4], batch[5]
local FIRST, WIDTH = 8, 8
local now = server_ms()
local no = refused(now, batch)
if no then
  return {now, no}
end
local global = call('HMGET', p .. 'g', 'epoch', 'generation', 'ms', 'seq', 'floor')
local last_ms, last_seq = tonumber(global[3]) or 0, tonumber(global[4]) or 0
if not global[1] or last_ms < batch[6] or (last_ms == batch[6] and last_seq < batch[7]) then
  -- Somebody has put other data here, or older ones.
  return {now, 'new'}
end
local generation, inbox_floor = global[2], tonumber(global[5]) or 0
local base, any_id, skip = (generation - 1) * GENERATION + 1, generation .. '-*', #generation + 2
local spilled = false

-- What was written, to undo it: streams and ids; and threes of a command, a key and its other arguments.
local added, adds = {}, 0
local done, dones = {}, 0
-- What is looked at, by name and in order.
local states, ordered = {}, {}
-- What is new, or may be too full: names as the indexes of ``sweep`` have them.
local new_inboxes, new_conversations, full = {}, {}, {}
local offsets = {}
local answer = {now, 'ok', 0, 0, offsets}
local repeated_bytes = 0

local function undo(error)
  for at = 1, adds, 2 do
    redis.pcall('XDEL', added[at], added[at + 1])
  end
  for at = dones, 3, -3 do
    redis.pcall(done[at - 2], done[at - 1], unpack(done[at]))
  end
  return {now, 'error', type(error) == 'table' and error.err or tostring(error)}
end

local function to_undo(command, key, ...)
  done[dones + 1], done[dones + 2], done[dones + 3] = command, key, {...}
  dones = dones + 3
end

local function to_undo_add(key, id)
  added[adds + 1], added[adds + 2], adds = key, id, adds + 2
end

-- Sizes of the rooms that are written to, where all of it would be more writes than this may make.
local function too_much()
  local sizes, writes, any = {}, 0, false
  for at = FIRST, #batch, WIDTH do
    local conversation = batch[at + 2]
    if batch[at + 3] == 0 then
      any = true
      sizes[conversation] = sizes[conversation] or call('HLEN', p .. 'm:' .. conversation)
    end
    writes = writes + (sizes[conversation] or 1)
  end
  if any and writes > most_writes and #batch > FIRST + WIDTH then
    local listed = {}
    for room, size in pairs(sizes) do
      listed[#listed + 1] = room
      listed[#listed + 1] = size
    end
    return listed
  end
end

local function state_of(conversation, sender, recipient, side)
  local state = states[conversation]
  if not state then
    local key = p .. 'h:' .. conversation
    local found = call('HMGET', key, 't', 'a', 'z', 'ft')
    local total = tonumber(found[1]) or 0
    state = {
      conversation = conversation,
      sender = sender,
      recipient = recipient,
      side = side,
      counts = key,
      stream = p .. 'c:' .. conversation,
      total = total,
      first = tonumber(found[2]) or 0,
      listed = tonumber(found[3]) or 0,
      shown = total - (tonumber(found[4]) or 0),
      is_new = not found[1],
      last = nil,
      members = nil,
      inboxes = nil,
    }
    states[conversation] = state
    ordered[#ordered + 1] = state
  end
  return state
end

local function find_members(state)
  if not state.members then
    local members, inboxes = call('HKEYS', p .. 'm:' .. state.conversation), {}
    for nth = 1, #members do
      inboxes[nth] = p .. 'i:' .. members[nth]
    end
    state.members, state.inboxes = members, inboxes
  end
end

-- Put a message into an inbox; the offset that it gets.
local function give(user, key, id, conversation, ms)
  local given = call('XADD', key, any_id, 'n', id, 'c', conversation)
  to_undo_add(key, given)
  local offset = base + tonumber(sub(given, skip))
  if offset == base then
    new_inboxes['i' .. user] = ms
    if inbox_floor > 0 then
      -- An inbox of this user may have been deleted, and none gives an offset twice.
      given = generation .. '-' .. format('%.0f', inbox_floor)
      call('XADD', key, given, 'n', id, 'c', conversation)
      to_undo_add(key, given)
      call('XDEL', key, generation .. '-0')
      offset = base + inbox_floor
    end
  elseif offset - base > SPILL then
    spilled = true
  end
  if most_kept > 0 then
    full['i' .. user] = true
  end
  return offset, given
end

-- The message that this one repeats: its id and its conversation, and the entry where that was looked at. Where there is
-- none, ``id`` is remembered as the first.
local function first_of_repeats(sender, cid, id, conversation, remember)
  local key = p .. 'd:' .. sender
  if remember and call('HSETNX', key, cid, id .. ' ' .. conversation) == 1 then
    to_undo('HDEL', key, cid)
    return
  end
  local earlier = call('HGET', key, cid)
  if not earlier then
    return
  end
  local first, where = match(earlier, '^(%S+) (.*)$')
  if repeated_bytes >= PAGE_BYTES then
    return first, where
  end
  local entry = call('XRANGE', p .. 'c:' .. where, first, first)[1]
  if entry then
    repeated_bytes = repeated_bytes + #entry[2][2]
    return first, where, entry
  end
  if remember then -- what it was of is kept no longer
    call('HSET', key, cid, id .. ' ' .. conversation)
    to_undo('HSET', key, cid, earlier)
  end
end

local function tell_repeat(which, first, where, entry)
  if entry then
    local told = as_told(entry)
    answer[#answer + 1] = {which, 'r', first, told[1], told[2], told[3]}
  else
    answer[#answer + 1] = {which, 'l', first, where}
  end
end

-- Keep a message to a room: its sender's number in it, and the packed places.
local function give_to_room(state, sender, member, id, ms)
  local conversation = state.conversation
  local members, inboxes = state.members, state.inboxes
  local places, filled = {}, 0
  for nth = 1, #members do
    local user = members[nth]
    if user ~= sender then
      places[filled + 1], places[filled + 2] = user, (give(user, inboxes[nth], id, conversation, ms))
      filled = filled + 2
    end
  end
  local mine, read = match(member, '^(%d+) (%d+)$')
  local own, key = mine + 1, p .. 'm:' .. conversation
  call('HSET', key, sender, own .. ' ' .. read)
  to_undo('HSET', key, sender, member)
  key = own_key(conversation, sender)
  call('ZADD', key, state.total, own)
  to_undo('ZREM', key, own)
  if most_kept > 0 and filled > 0 then
    key = p .. 'n:' .. conversation
    call('HSET', key, id, filled / 2)
    to_undo('HDEL', key, id)
  end
  return own, cmsgpack.pack(places)
end

-- Keep a message in its conversation.
local function keep(state, id, rest, own, place, who, sender, cid, places)
  local facts_of = state.total .. ' ' .. own .. ' ' .. place .. ' ' .. who
  if cid == '' then
    call('XADD', state.stream, id, 'm', rest, 's', facts_of)
  elseif places then
    call('XADD', state.stream, id, 'm', rest, 's', facts_of, 'd', #sender .. ' ' .. sender .. cid, 'p', places)
  else
    call('XADD', state.stream, id, 'm', rest, 's', facts_of, 'd', #sender .. ' ' .. sender .. cid)
  end
  to_undo_add(state.stream, id)
end

local function keep_one(which, sender, recipient, conversation, side, cid, ms, seq, rest)
  local later = ms < last_ms or (ms == last_ms and seq <= last_seq)
  if later then
    ms, seq = last_ms, last_seq + 1
    if seq > 65535 then
      ms, seq = ms + 1, 0
    end
  end
  local id = format('%.0f-%.0f', ms, seq)
  local state = state_of(conversation, sender, recipient, side)
  local member
  if side == 0 then
    member = call('HGET', p .. 'm:' .. conversation, sender)
    if member then
      find_members(state)
    end
  end
  if cid ~= '' then
    -- Who was a member when it was written first, and is none any more, is told what became of it.
    local first, where, entry = first_of_repeats(sender, cid, id, conversation, side ~= 0 or member)
    if first then
      offsets[which] = 0
      tell_repeat(which, first, where, entry)
      return
    end
  end
  if side == 0 and not member then
    offsets[which] = 0
    answer[#answer + 1] = {which, 'x'}
    return
  end
  state.total = state.total + 1
  if side == 0 then
    local own, places = give_to_room(state, sender, member, id, ms)
    keep(state, id, rest, own, '-', sender, sender, cid, places)
    offsets[which] = 0
    answer[#answer + 1] = {which, 'p', id, places}
  else
    local offset, place = give(recipient, p .. 'i:' .. recipient, id, conversation, ms)
    local own
    if side == 1 then
      state.first = state.first + 1
      own = state.first
    else
      own = state.total - state.first
    end
    keep(state, id, rest, own, place, side, sender, cid)
    if later then
      offsets[which] = 0
      answer[#answer + 1] = {which, 'n', id, offset}
    else
      offsets[which] = offset
    end
  end
  last_ms, last_seq = ms, seq
  state.last = id
  if state.is_new then
    new_conversations['c' .. conversation] = ms
    state.is_new = false
  end
  state.shown = state.shown + 1
  if most_kept > 0 and state.shown > most_kept then
    full['c' .. conversation] = true
  end
end

local function keep_all()
  local which = 0
  for at = FIRST, #batch, WIDTH do
    which = which + 1
    keep_one(which, unpack(batch, at, at + WIDTH - 1))
  end
end

-- A user's list of conversations is up to date but for a minute, so that most messages need not touch it.
local function list(state)
  state.listed = now
  if state.side == 0 then
    for _, name in ipairs(state.members) do
      redis.pcall('ZADD', p .. 'v:' .. name, now, '0' .. state.conversation)
    end
  else
    redis.pcall('ZADD', p .. 'v:' .. state.sender, now, state.side .. state.conversation)
    if state.sender ~= state.recipient then
      redis.pcall('ZADD', p .. 'v:' .. state.recipient, now, 3 - state.side .. state.conversation)
    end
  end
end

-- What is written here was read before, or is an index that can do without: nothing of it can fail.
local function finish()
  for _, state in ipairs(ordered) do
    if state.last then
      -- (The server's clock may have been set back since.)
      if now - state.listed >= 60000 or now < state.listed then
        list(state)
      end
      call('HSET', state.counts, 't', state.total, 'a', state.first, 'z', state.listed, 'l', state.last)
    end
  end
  for name, ms in pairs(new_inboxes) do
    redis.pcall('ZADD', p .. 'x:age:i', 'NX', ms, name)
  end
  for name, ms in pairs(new_conversations) do
    redis.pcall('ZADD', p .. 'x:age:c', 'NX', ms, name)
  end
  for name in pairs(full) do
    redis.pcall('SADD', p .. 'x:full', name)
  end
  call('HSET', p .. 'g', 'ms', format('%.0f', last_ms), 'seq', last_seq)
  if spilled then
    call('HSET', p .. 'g', 'generation', format('%.0f', generation + 1), 'floor', 0)
  end
end

local sizes = too_much()
if sizes then
  call('SET', p .. 'x:w:' .. writer, turn, 'PX', 60000)
  return {now, 'much', sizes}
end
local fine, error = pcall(keep_all)
if not fine then
  return undo(error)
end
finish()
answer[3], answer[4] = last_ms, last_seq
return answer
