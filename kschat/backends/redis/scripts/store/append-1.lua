-- Appends a batch: all of it, or nothing.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); how many writes this may make; how many messages a
--            conversation keeps (0: all); the last number that the writer knows (milliseconds, count); the rate of a
--            sender: milliseconds that a message costs (0: no limit), and that may be taken at once; and for each message
--            its sender, its recipient, its conversation, the sender's side of that (1 or 2; 0: a room), its cid ('' for
--            none), its number (milliseconds, count), the message without its number, which the script does not parse, and
--            the same with its line, for lists ('' if the line is the whole message)
-- Output:
--   the server's time, in milliseconds; and one of
--   'ok'     the last number (milliseconds, count); a list of each message's offset, 0 for those described after it:
--            {which, 'n', id, offset}          it got a later number than proposed
--            {which, 'p', id, places}          it went to a room; packed users and offsets
--            {which, 'r', id, message, facts, places}  it is a repeat of that one
--            {which, 'l', id, conversation}    it is a repeat of that one; the caller looks it up with messages
--            {which, 'x'}                      its sender is not a member of the room, or is blocked by the recipient
--            {which, 't', wait}                its sender has exceeded its rate; milliseconds until it may try again
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

local FIELDS = 9
local batch = cmsgpack.unpack(ARGV[1])
local deadline, writer, turn, most_writes, most_kept, known_ms, known_count, send_cost, send_span = unpack(batch, 1, 9)
local BEGIN = 10

local now = server_milliseconds()

-- Own times of messages whose ids run ahead of them, by id (see ``age`` in the package ``backends``).
local late = {}
local LATE, MOST_LATE = 60000, 2592000000
-- Names for the indexes of retention.
local new_inboxes, new_conversations, full = {}, {}, {}
-- Conversations that are written to, by name and in order.
local states, ordered, state_count = {}, {}, 0
-- When each sender's bucket is full again.
local full_at = {}
-- Whether anybody blocks anybody; and whether a recipient blocks a sender, by both.
local any_blocks, blocks = false, {}
-- What was written, to undo it: keys and ids of streams, and commands.
local added, added_count, done = {}, 0, {}
local offsets = {}
local answer = {now, 'ok', 0, 0, offsets}
local spilled, repeated_bytes = false, 0
-- Read before anything is written.
local generation, base, any_id, digits, inbox_floor, last_ms, last_count
-- The number of the message that is being kept.
local ms, count

-- Each call defines these functions again, so that code that runs once is written below them, where it costs less.

local function undo(failure)
  for at = 1, added_count, 2 do
    pcall_redis('XDEL', added[at], added[at + 1])
  end
  for at = #done, 1, -1 do
    pcall_redis(unpack(done[at]))
  end
  return {now, 'error', type(failure) == 'table' and failure.err or tostring(failure)}
end

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

-- A conversation, as the messages before have left it. ``message`` is the first of this batch.
local function state_of(message)
  local state = states[message.conversation]
  if not state then
    local counts = prefix .. 'h:' .. message.conversation
    local found = call('HMGET', counts, 't', 'a', 'z', 'ft')
    local total = tonumber(found[1]) or 0
    state = {
      message = message,
      counts = counts,
      total = total,
      first = tonumber(found[2]) or 0,
      listed = tonumber(found[3]) or 0,
      shown = total - (tonumber(found[4]) or 0),
      is_new = not found[1],
      last = false,
    }
    state_count = state_count + 1
    states[message.conversation], ordered[state_count] = state, state
  end
  return state
end

-- The members of a room, and their inboxes.
local function find_members(state)
  if not state.members then
    local members, inboxes = call('HKEYS', prefix .. 'm:' .. state.message.conversation), {}
    for nth = 1, #members do
      inboxes[nth] = prefix .. 'i:' .. members[nth]
    end
    state.members, state.inboxes = members, inboxes
  end
end

-- The message that this one repeats: its id, its conversation, and its form as_told if it was looked at; nil if there is
-- none, and then this one is the first from now on, if ``remember``. A large message is not read for its repeats.
local function find_first(message, remember)
  local key, mine = prefix .. 'd:' .. message.sender, message.id .. ' ' .. message.conversation
  if remember and call('HSETNX', key, message.cid, mine) == 1 then
    done[#done + 1] = {'HDEL', key, message.cid}
    return
  end
  local earlier = call('HGET', key, message.cid)
  if not earlier then
    return
  end
  local id, conversation = match(earlier, '^(%S+) (.*)$')
  local large = call('HGET', prefix .. 'e:' .. message.sender, message.cid)
  if large and sub(large, 1, #id + 1) == id .. ' ' then
    return id, conversation, cmsgpack.unpack(sub(large, #id + 2))
  end
  if repeated_bytes >= PAGE_BYTES then
    return id, conversation
  end
  local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
  if entry then
    repeated_bytes = repeated_bytes + #entry[2][2]
    return id, conversation, as_told(entry)
  end
  if remember then
    -- What it was of is kept no longer.
    call('HSET', key, message.cid, mine)
    done[#done + 1] = {'HSET', key, message.cid, earlier}
  end
end

-- Put a message into an inbox; its offset there, and its id.
local function give(user, key, message)
  local id = call('XADD', key, any_id, 'n', message.id, 'c', message.conversation)
  added[added_count + 1], added[added_count + 2], added_count = key, id, added_count + 2
  local offset = base + tonumber(sub(id, digits))
  if offset == base then
    new_inboxes['i' .. user] = ms
    if inbox_floor > 0 then
      -- An inbox of this user may have been deleted, and no offset is given twice.
      local first = id
      id = generation .. '-' .. format('%.0f', inbox_floor)
      call('XADD', key, id, 'n', message.id, 'c', message.conversation)
      added[added_count + 1], added[added_count + 2], added_count = key, id, added_count + 2
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

-- Put a message into its conversation, and count it. own: its number among its sender's; place: its id in the recipient's
-- inbox; sender: the side of two, or the member of a room; places: of a room, packed.
local function add(state, message, own, place, sender, places)
  local key, facts = prefix .. 'c:' .. message.conversation, state.total .. ' ' .. own .. ' ' .. place .. ' ' .. sender
  local id, cid = message.id, message.cid
  if cid == '' then
    call('XADD', key, id, 'm', message.rest, 's', facts)
  else
    local of = #message.sender .. ' ' .. message.sender .. cid
    if places then
      call('XADD', key, id, 'm', message.rest, 's', facts, 'd', of, 'p', places)
    else
      call('XADD', key, id, 'm', message.rest, 's', facts, 'd', of)
    end
    if #message.rest > MOST_WHOLE then
      local about = prefix .. 'e:' .. message.sender
      call('HSET', about, cid, id .. ' ' .. cmsgpack.pack({head_of(message.rest), facts, places or ''}))
      done[#done + 1] = {'HDEL', about, cid}
    end
  end
  added[added_count + 1], added[added_count + 2], added_count = key, id, added_count + 2
  last_ms, last_count, state.last, state.line = ms, count, id, message.line
  state.shown = state.shown + 1
  if state.is_new then
    new_conversations['c' .. message.conversation] = ms
    state.is_new = false
  end
  if most_kept > 0 and state.shown > most_kept then
    full['c' .. message.conversation] = true
  end
end

-- Keep a message for all members of a room but its sender, whose own it is.
local function keep_in_room(which, state, message, member)
  find_members(state)
  state.total = state.total + 1
  local conversation, sender = message.conversation, message.sender
  local members, inboxes = state.members, state.inboxes
  local places, filled = {}, 0
  for nth = 1, #members do
    local user = members[nth]
    if user ~= sender then
      places[filled + 1], places[filled + 2] = user, (give(user, inboxes[nth], message))
      filled = filled + 2
    end
  end
  local mine, read = match(member, '^(%d+) (%d+)$')
  local own, key = mine + 1, prefix .. 'm:' .. conversation
  call('HSET', key, sender, own .. ' ' .. read)
  done[#done + 1] = {'HSET', key, sender, member}
  key = own_key(conversation, sender)
  call('ZADD', key, state.total, own)
  done[#done + 1] = {'ZREM', key, own}
  if most_kept > 0 and filled > 0 then
    key = prefix .. 'n:' .. conversation
    call('HSET', key, message.id, filled / 2)
    done[#done + 1] = {'HDEL', key, message.id}
  end
  local packed = cmsgpack.pack(places)
  add(state, message, own, '-', sender, packed)
  answer[#answer + 1] = {which, 'p', message.id, packed}
end

-- Keep a message for a user.
local function keep_for_user(which, state, message)
  state.total = state.total + 1
  local own
  if message.side == 1 then
    own = state.first + 1
    state.first = own
  else
    own = state.total - state.first
  end
  local recipient = message.recipient
  local offset, place = give(recipient, prefix .. 'i:' .. recipient, message)
  add(state, message, own, place, message.side)
  if message.is_later then
    answer[#answer + 1] = {which, 'n', message.id, offset}
  else
    offsets[which] = offset
  end
end

-- What is ahead of the server's clock may be ahead of its own time as well. Its rest is looked into then: an array, whose
-- fifth is the time.
local function note_late(message)
  local _, _, _, _, _, time = cmsgpack.unpack_limit(message.rest, 5, 1)
  local by = ms - time
  if by > LATE and by <= MOST_LATE then
    late[message.id] = time
  end
end

-- Take from the sender's bucket (see ``kschat/rates.py``); if there is too little in it, the milliseconds to wait.
local function take_send(sender)
  -- A server whose clock was set back must not keep a sender waiting for longer than a full bucket takes.
  local full = full_at[sender] or math.min(tonumber(call('GET', prefix .. 'q:' .. sender)) or 0, now + send_span)
  full = math.max(full, now) + send_cost
  if full - now > send_span then
    return math.ceil(full - now - send_span)
  end
  full_at[sender] = full
end

-- Whether the recipient blocks the sender.
local function is_blocked(message)
  local key = prefix .. 'b:' .. message.recipient
  local pair = #key .. key .. message.sender
  local blocked = blocks[pair]
  if blocked == nil then
    blocked = call('SISMEMBER', key, message.sender) == 1
    blocks[pair] = blocked
  end
  return blocked
end

-- Keep a message, unless it is a repeat, its sender no member of the room, or blocked, or has exceeded its rate.
local function keep(which, message)
  local is_to_room = message.side == 0
  local member = is_to_room and call('HGET', prefix .. 'm:' .. message.conversation, message.sender)
  local allowed = is_to_room and member or not is_to_room and not (any_blocks and is_blocked(message))
  local done_before = #done
  offsets[which] = 0
  if message.cid ~= '' then
    -- A sender that was a member at the first try, and is none any more, is told what became of that; so is one that was
    -- blocked since.
    local id, conversation, told = find_first(message, allowed)
    if told then
      answer[#answer + 1] = {which, 'r', id, told[1], told[2], told[3]}
      return
    elseif id then
      answer[#answer + 1] = {which, 'l', id, conversation}
      return
    end
  end
  if send_cost > 0 and (member or not is_to_room) then
    local wait = take_send(message.sender)
    if wait then
      -- The next try is no repeat of this one.
      if #done > done_before then
        call(unpack(done[#done]))
        done[#done] = nil
      end
      answer[#answer + 1] = {which, 't', wait}
      return
    end
  end
  if not allowed then
    answer[#answer + 1] = {which, 'x'}
    return
  elseif is_to_room then
    keep_in_room(which, state_of(message), message, member)
  else
    keep_for_user(which, state_of(message), message)
  end
  if ms > now + LATE then
    pcall(note_late, message)
  end
end

-- Put a conversation into its users' lists.
local function list(state)
  local message = state.message
  state.listed = now
  if state.line == '' then
    call('HDEL', state.counts, 'b')
  end
  if message.side == 0 then
    for _, user in ipairs(state.members) do
      pcall_redis('ZADD', prefix .. 'v:' .. user, now, '0' .. message.conversation)
    end
  else
    pcall_redis('ZADD', prefix .. 'v:' .. message.sender, now, message.side .. message.conversation)
    if message.sender ~= message.recipient then
      pcall_redis('ZADD', prefix .. 'v:' .. message.recipient, now, 3 - message.side .. message.conversation)
    end
  end
end

-- May it be done?

local global_key, held_key = prefix .. 'g', 'w:' .. writer
local global = call('HMGET', global_key, 'epoch', 'generation', 'ms', 'seq', 'floor', held_key, 'blocks')
local held = global[6]
local outcome = refusal(now, deadline, turn, held)
if outcome then
  return {now, outcome}
end
if held then
  call('HDEL', global_key, held_key)
end
last_ms, last_count = tonumber(global[3]) or 0, tonumber(global[4]) or 0
if not global[1] or last_ms < known_ms or (last_ms == known_ms and last_count < known_count) then
  return {now, 'new'}
end
any_blocks = tonumber(global[7] or 0) > 0
local sizes = too_much()
if sizes then
  call('HSET', global_key, held_key, turn)
  return {now, 'much', sizes}
end
generation, inbox_floor = global[2], tonumber(global[5]) or 0
base, any_id, digits = (generation - 1) * GENERATION + 1, generation .. '-*', #generation + 2

-- Keep each message.

local which = 0
for at = BEGIN, #batch, FIELDS do
  which = which + 1
  local is_later = false
  ms, count = batch[at + 5], batch[at + 6]
  if ms < last_ms or (ms == last_ms and count <= last_count) then
    is_later = true
    if last_count < 65535 then
      ms, count = last_ms, last_count + 1
    else
      ms, count = last_ms + 1, 0
    end
  end
  local fine, failure = pcall(keep, which, {
    sender = batch[at],
    recipient = batch[at + 1],
    conversation = batch[at + 2],
    side = batch[at + 3],
    cid = batch[at + 4],
    id = format('%.0f-%.0f', ms, count),
    is_later = is_later,
    rest = batch[at + 7],
    line = batch[at + 8],
  })
  if not fine then
    return undo(failure)
  end
end

-- Write counts and indexes. What is written here was read before, or is an index that can do without: none of it can fail.

for at = 1, state_count do
  local state = ordered[at]
  -- (The server's clock may have been set back since.)
  if now - state.listed >= LISTED_EVERY or now < state.listed then
    list(state)
  end
  if state.line == '' then
    call('HSET', state.counts, 't', state.total, 'a', state.first, 'z', state.listed, 'l', state.last)
  else
    local line = state.last .. ' ' .. state.line
    call('HSET', state.counts, 't', state.total, 'a', state.first, 'z', state.listed, 'l', state.last, 'b', line)
  end
end
for name, time in pairs(new_inboxes) do
  pcall_redis('ZADD', prefix .. 'x:age:i', 'NX', time, name)
end
for name, time in pairs(new_conversations) do
  pcall_redis('ZADD', prefix .. 'x:age:c', 'NX', time, name)
end
for id, time in pairs(late) do
  pcall_redis('ZADD', prefix .. 'x:late', time, id)
end
for sender, time in pairs(full_at) do
  pcall_redis('SET', prefix .. 'q:' .. sender, format('%.3f', time), 'PX', math.ceil(time - now) + 1)
end
for name in pairs(full) do
  pcall_redis('SADD', prefix .. 'x:full', name)
end
call('HSET', global_key, 'ms', format('%.0f', last_ms), 'seq', last_count)
if spilled then
  call('HSET', global_key, 'generation', format('%.0f', generation + 1), 'floor', 0)
end
answer[3], answer[4] = last_ms, last_count
-- @slot "outbox"
return answer
