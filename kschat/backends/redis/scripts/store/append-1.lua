-- Appends a batch: all of it, or nothing.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); how many writes this may make; how many messages a
--            conversation keeps (0: all); the last number that the writer knows (milliseconds, count); and for each message
--            its sender, its recipient, its conversation, the sender's side of that (1 or 2; 0: a room), its cid ('' for
--            none), its number (milliseconds, count), and the message without its number, which the script does not parse
-- Output:
--   the server's time, in milliseconds; and one of
--   'ok'     the last number (milliseconds, count); a list of each message's offset, 0 for those described after it:
--            {which, 'n', id, offset}          it got a later number than proposed
--            {which, 'p', id, places}          it went to a room; packed users and offsets
--            {which, 'r', id, message, facts, places}  it is a repeat of that one
--            {which, 'l', id, conversation}    it is a repeat of that one; the caller looks it up with messages
--            {which, 'x'}                      its sender is not a member of the room
--   'late', 'again'  see refusal; nothing was done
--   'new'    the data was replaced, or is older; nothing was done
--   'much'   rooms and their sizes: the batch needs too many writes; nothing was done
--   'error'  the reason for the rollback

-- @include "asTold"
-- @include "base"
-- @include "generation"
-- @include "ownKey"
-- @include "pageBytes"
-- @include "refusal"
-- @include "serverMilliseconds"

-- Of an inbox that was given so many offsets in one generation, the next ones are of the next generation.
local MOST_OFFSETS = GENERATION - 262144
-- A user's list of conversations is behind by so many milliseconds, so that most messages need not touch it.
local LISTED_EVERY = 60000

local FIELDS = 8
local batch = cmsgpack.unpack(ARGV[1])
local deadline, writer, turn, most_writes, most_kept, known_ms, known_count = unpack(batch, 1, 7)
local BEGIN = 8

local now = server_milliseconds()
local global_key = prefix .. 'g'

-- Read before anything is written.
local generation, base, any_id, digits, inbox_floor, last_ms, last_count

-- What was written, to undo it: ids of streams, and commands.
local added, done = {}, {}
-- Conversations that are written to, by name and in order.
local states, ordered = {}, {}
-- Names for the indexes of retention.
local new_inboxes, new_conversations, full = {}, {}, {}
-- Own times of messages whose ids run ahead of them, by id (see ``age`` in the package ``backends``).
local late = {}
local LATE, MOST_LATE = 60000, 2592000000
local spilled, repeated_bytes = false, 0
local offsets = {}
local answer = {now, 'ok', 0, 0, offsets}

-- Undoing.

local function to_undo_add(key, id)
  added[#added + 1] = key
  added[#added + 1] = id
end

local function to_undo(...)
  done[#done + 1] = {...}
end

local function undo(failure)
  for at = 1, #added, 2 do
    pcall_redis('XDEL', added[at], added[at + 1])
  end
  for at = #done, 1, -1 do
    pcall_redis(unpack(done[at]))
  end
  return {now, 'error', type(failure) == 'table' and failure.err or tostring(failure)}
end

-- Before anything is written.

-- Rooms and their sizes, if the batch would be too many writes. One message never is.
local function too_much()
  local sizes, writes, any = {}, 0, false
  for at = BEGIN, #batch, FIELDS do
    local conversation, side = batch[at + 2], batch[at + 3]
    if side == 0 then
      any = true
      sizes[conversation] = sizes[conversation] or call('HLEN', prefix .. 'm:' .. conversation)
    end
    writes = writes + (sizes[conversation] or 1)
  end
  if not any or writes <= most_writes or #batch < BEGIN + 2 * FIELDS - 1 then
    return
  end
  local listed = {}
  for room, size in pairs(sizes) do
    listed[#listed + 1] = room
    listed[#listed + 1] = size
  end
  return listed
end

-- Why nothing may be done; nil if it may.
local function refused()
  local field = 'w:' .. writer
  local global = call('HMGET', global_key, 'epoch', 'generation', 'ms', 'seq', 'floor', field)
  local held = global[6]
  local outcome = refusal(now, deadline, turn, held)
  if outcome then
    return {now, outcome}
  end
  if held then
    call('HDEL', global_key, field)
  end
  last_ms, last_count = tonumber(global[3]) or 0, tonumber(global[4]) or 0
  if not global[1] or last_ms < known_ms or (last_ms == known_ms and last_count < known_count) then
    return {now, 'new'}
  end
  local sizes = too_much()
  if sizes then
    call('HSET', global_key, field, turn)
    return {now, 'much', sizes}
  end
  generation, inbox_floor = global[2], tonumber(global[5]) or 0
  base, any_id, digits = (generation - 1) * GENERATION + 1, generation .. '-*', #generation + 2
end

-- Numbers and conversations.

-- The number that a message gets, and whether that is later than the one it has.
local function number_of(ms, count)
  if ms > last_ms or (ms == last_ms and count > last_count) then
    return ms, count, false
  end
  if last_count < 65535 then
    return last_ms, last_count + 1, true
  end
  return last_ms + 1, 0, true
end

local function state_of(message)
  local state = states[message.conversation]
  if not state then
    local key = prefix .. 'h:' .. message.conversation
    local found = call('HMGET', key, 't', 'a', 'z', 'ft')
    local total = tonumber(found[1]) or 0
    state = {
      conversation = message.conversation,
      sender = message.sender,
      recipient = message.recipient,
      side = message.side,
      counts = key,
      stream = prefix .. 'c:' .. message.conversation,
      total = total,
      first = tonumber(found[2]) or 0,
      listed = tonumber(found[3]) or 0,
      shown = total - (tonumber(found[4]) or 0),
      is_new = not found[1],
    }
    states[message.conversation] = state
    ordered[#ordered + 1] = state
  end
  return state
end

-- The members of a room, and their inboxes.
local function find_members(state)
  if not state.members then
    local members, inboxes = call('HKEYS', prefix .. 'm:' .. state.conversation), {}
    for nth = 1, #members do
      inboxes[nth] = prefix .. 'i:' .. members[nth]
    end
    state.members, state.inboxes = members, inboxes
  end
end

-- Repeats.

-- The message that this one repeats: its id, its conversation, and its entry if that was looked at; nil if there is none,
-- and then this one is the first from now on, if ``remember``.
local function find_first(message, remember)
  local key, mine = prefix .. 'd:' .. message.sender, message.id .. ' ' .. message.conversation
  if remember and call('HSETNX', key, message.cid, mine) == 1 then
    to_undo('HDEL', key, message.cid)
    return
  end
  local earlier = call('HGET', key, message.cid)
  if not earlier then
    return
  end
  local id, conversation = match(earlier, '^(%S+) (.*)$')
  if repeated_bytes >= PAGE_BYTES then
    return id, conversation
  end
  local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
  if entry then
    repeated_bytes = repeated_bytes + #entry[2][2]
    return id, conversation, entry
  end
  if remember then
    -- What it was of is kept no longer.
    call('HSET', key, message.cid, mine)
    to_undo('HSET', key, message.cid, earlier)
  end
end

local function tell_repeat(which, id, conversation, entry)
  if entry then
    local told = as_told(entry)
    answer[#answer + 1] = {which, 'r', id, told[1], told[2], told[3]}
  else
    answer[#answer + 1] = {which, 'l', id, conversation}
  end
end

-- Inboxes.

-- Put a message into an inbox; its offset there, and its id.
local function give(user, key, message)
  local id = call('XADD', key, any_id, 'n', message.id, 'c', message.conversation)
  to_undo_add(key, id)
  local offset = base + tonumber(sub(id, digits))
  if offset == base then
    new_inboxes['i' .. user] = message.ms
    if inbox_floor > 0 then
      -- An inbox of this user may have been deleted, and no offset is given twice.
      local first = id
      id = generation .. '-' .. format('%.0f', inbox_floor)
      call('XADD', key, id, 'n', message.id, 'c', message.conversation)
      to_undo_add(key, id)
      call('XDEL', key, first)
      offset = base + inbox_floor
    end
  elseif offset - base > MOST_OFFSETS then
    spilled = true
  end
  if most_kept > 0 then
    full['i' .. user] = true
  end
  return offset, id
end

-- Put a message into the inboxes of a room's members, and count it as its sender's own. Its number among these, and the
-- packed users and offsets.
local function give_to_room(state, message, member)
  local places, members, inboxes = {}, state.members, state.inboxes
  for nth = 1, #members do
    local user = members[nth]
    if user ~= message.sender then
      local offset = give(user, inboxes[nth], message)
      places[#places + 1] = user
      places[#places + 1] = offset
    end
  end
  local mine, read = match(member, '^(%d+) (%d+)$')
  local own, key = mine + 1, prefix .. 'm:' .. state.conversation
  call('HSET', key, message.sender, own .. ' ' .. read)
  to_undo('HSET', key, message.sender, member)
  key = own_key(state.conversation, message.sender)
  call('ZADD', key, state.total, own)
  to_undo('ZREM', key, own)
  if most_kept > 0 and #places > 0 then
    key = prefix .. 'n:' .. state.conversation
    call('HSET', key, message.id, #places / 2)
    to_undo('HDEL', key, message.id)
  end
  return own, cmsgpack.pack(places)
end

-- The number of a message among its sender's, in a conversation of two.
local function count_own(state, side)
  if side == 1 then
    state.first = state.first + 1
    return state.first
  end
  return state.total - state.first
end

-- Conversations.

local function add_to_conversation(state, message, own, place, sender, places)
  local facts = state.total .. ' ' .. own .. ' ' .. place .. ' ' .. sender
  local id, cid = message.id, message.cid
  if cid == '' then
    call('XADD', state.stream, id, 'm', message.rest, 's', facts)
  else
    local of = #message.sender .. ' ' .. message.sender .. cid
    if places then
      call('XADD', state.stream, id, 'm', message.rest, 's', facts, 'd', of, 'p', places)
    else
      call('XADD', state.stream, id, 'm', message.rest, 's', facts, 'd', of)
    end
  end
  to_undo_add(state.stream, id)
end

-- What is ahead of the server's clock may be ahead of its own time as well. Its rest is looked into then: an array, whose
-- fifth is the time.
local function note_late(message)
  local _, _, _, _, _, time = cmsgpack.unpack_limit(message.rest, 5, 1)
  local by = message.ms - time
  if by > LATE and by <= MOST_LATE then
    late[message.id] = time
  end
end

local function count(state, message)
  if message.ms > now + LATE then
    pcall(note_late, message)
  end
  last_ms, last_count = message.ms, message.count
  state.last = message.id
  state.shown = state.shown + 1
  if state.is_new then
    new_conversations['c' .. state.conversation] = message.ms
    state.is_new = false
  end
  if most_kept > 0 and state.shown > most_kept then
    full['c' .. state.conversation] = true
  end
end

-- One message.

local function keep_in_room(which, state, message, member)
  state.total = state.total + 1
  local own, places = give_to_room(state, message, member)
  add_to_conversation(state, message, own, '-', message.sender, places)
  answer[#answer + 1] = {which, 'p', message.id, places}
end

local function keep_for_user(which, state, message)
  state.total = state.total + 1
  local offset, place = give(message.recipient, prefix .. 'i:' .. message.recipient, message)
  add_to_conversation(state, message, count_own(state, message.side), place, message.side)
  if message.is_later then
    answer[#answer + 1] = {which, 'n', message.id, offset}
  else
    offsets[which] = offset
  end
end

local function keep(which, message)
  offsets[which] = 0
  local state, member = state_of(message), nil
  local is_to_room = message.side == 0
  if is_to_room then
    member = call('HGET', prefix .. 'm:' .. message.conversation, message.sender)
  end
  if message.cid ~= '' then
    -- A sender that was a member at the first try, and is none any more, is told what became of that.
    local id, conversation, entry = find_first(message, not is_to_room or member)
    if id then
      return tell_repeat(which, id, conversation, entry)
    end
  end
  if not is_to_room then
    keep_for_user(which, state, message)
  elseif member then
    find_members(state)
    keep_in_room(which, state, message, member)
  else
    answer[#answer + 1] = {which, 'x'}
    return
  end
  count(state, message)
end

local function keep_all()
  local which = 0
  for at = BEGIN, #batch, FIELDS do
    which = which + 1
    local ms, count_of, is_later = number_of(batch[at + 5], batch[at + 6])
    keep(which, {
      sender = batch[at],
      recipient = batch[at + 1],
      conversation = batch[at + 2],
      side = batch[at + 3],
      cid = batch[at + 4],
      ms = ms,
      count = count_of,
      id = format('%.0f-%.0f', ms, count_of),
      is_later = is_later,
      rest = batch[at + 7],
    })
  end
end

-- Afterwards. What is written here was read before, or is an index that can do without: nothing of it can fail.

-- Put a conversation into its users' lists.
local function list(state)
  state.listed = now
  if state.side == 0 then
    for _, user in ipairs(state.members) do
      pcall_redis('ZADD', prefix .. 'v:' .. user, now, '0' .. state.conversation)
    end
  else
    pcall_redis('ZADD', prefix .. 'v:' .. state.sender, now, state.side .. state.conversation)
    if state.sender ~= state.recipient then
      pcall_redis('ZADD', prefix .. 'v:' .. state.recipient, now, 3 - state.side .. state.conversation)
    end
  end
end

local function write_counts()
  for _, state in ipairs(ordered) do
    if state.last then
      -- (The server's clock may have been set back since.)
      if now - state.listed >= LISTED_EVERY or now < state.listed then
        list(state)
      end
      call('HSET', state.counts, 't', state.total, 'a', state.first, 'z', state.listed, 'l', state.last)
    end
  end
  call('HSET', global_key, 'ms', format('%.0f', last_ms), 'seq', last_count)
  if spilled then
    call('HSET', global_key, 'generation', format('%.0f', generation + 1), 'floor', 0)
  end
end

local function write_indexes()
  for name, ms in pairs(new_inboxes) do
    pcall_redis('ZADD', prefix .. 'x:age:i', 'NX', ms, name)
  end
  for name, ms in pairs(new_conversations) do
    pcall_redis('ZADD', prefix .. 'x:age:c', 'NX', ms, name)
  end
  for id, time in pairs(late) do
    pcall_redis('ZADD', prefix .. 'x:late', time, id)
  end
  for name in pairs(full) do
    pcall_redis('SADD', prefix .. 'x:full', name)
  end
end

local outcome = refused()
if outcome then
  return outcome
end
local fine, failure = pcall(keep_all)
if not fine then
  return undo(failure)
end
write_counts()
write_indexes()
answer[3], answer[4] = last_ms, last_count
return answer
