-- Changes a message, and puts the update into the inboxes of its conversation.
--
-- The text that is there now is kept beside the stream, and replaces the one in it soon (rewrite).
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the conversation, the sender of the update, the recipient ('' if
--            it is a room); 1 if it does not matter that the recipient blocks the sender, or 0; the key of the update's cid
--            ('' for none) and how long it is known, in milliseconds; the update's proposed number (milliseconds, count);
--            the id of the message; the SHA-1 of the message without its number as it was read; the same as it is from now
--            on; the same with its line, for lists ('' if the line is the whole message); the update without its number; 1
--            if it is read with the text of the message, or 0; how many messages an inbox keeps (0: all); the rate of a sender, as
--            of append
-- Output:
--   the server's time, in milliseconds; and one of
--   'ok'       the update's number (milliseconds, count); users and offsets
--   'repeat'   the cid is known
--   't'        its sender has exceeded its rate; milliseconds until it may try again
--   'x'        the sender is not a member of the room, or is blocked by the recipient
--   'gone'     there is no such message
--   'changed'  it is not what it was when it was read
--   'late', 'again', 'new'  see refusal; the data is gone

-- @include "current"
-- @include "generation"
-- @include "refusal"
-- @include "serverMilliseconds"

-- As of append.
local MOST_OFFSETS = GENERATION - 262144

local given = cmsgpack.unpack(ARGV[1])
local deadline, writer, turn, conversation, sender, recipient, also_blocked, cid_key, cid_time = unpack(given, 1, 9)
local ms, count, id, read, rest, line, update, with_text, most_kept = unpack(given, 10, 18)
local send_cost, send_span = unpack(given, 19, 20)
local now = server_milliseconds()
local global = call('HMGET', prefix .. 'g', 'epoch', 'generation', 'ms', 'seq', 'floor', 'w:' .. writer)
local outcome = refusal(now, deadline, turn, global[6]) or (not global[1] and 'new')
if outcome then
  return {now, outcome}
end

-- Whose inboxes it goes into; nil if the sender may not.
local function find_users()
  if recipient == '' then
    local members = prefix .. 'm:' .. conversation
    return call('HEXISTS', members, sender) == 1 and call('HKEYS', members) or nil
  end
  if also_blocked == 0 and call('SISMEMBER', prefix .. 'b:' .. recipient, sender) == 1 then
    return
  end
  return sender == recipient and {sender} or {sender, recipient}
end

if cid_key ~= '' and call('EXISTS', prefix .. cid_key) == 1 then
  return {now, 'repeat'}
end
local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
if not entry then
  return {now, 'gone'}
elseif redis.sha1hex(current(conversation, entry)) ~= read then
  return {now, 'changed'}
end
local users = find_users()
if not users then
  return {now, 'x'}
end
if send_cost > 0 then
  -- As ``take_send`` of append.
  local bucket = prefix .. 'q:' .. sender
  local full = math.max(math.min(tonumber(call('GET', bucket)) or 0, now + send_span), now) + send_cost
  if full - now > send_span then
    return {now, 't', math.ceil(full - now - send_span)}
  end
  call('SET', bucket, format('%.3f', full), 'PX', math.ceil(full - now) + 1)
end

-- The text first: if something is in the way of an inbox, the sender is told that it failed, and tries again.

call('HSET', prefix .. 'w:' .. conversation, id, rest)
call('SADD', prefix .. 'x:changed', conversation)
if #call('XRANGE', prefix .. 'y:' .. conversation, id, id) > 0 then
  -- It was copied before this change. The copy is finished all the same: a busy conversation's never would be otherwise.
  call('SADD', prefix .. 'z:' .. conversation, id)
end
local counts = prefix .. 'h:' .. conversation
call('HSET', counts, 'u', 1)
if call('HGET', counts, 'l') == id then
  call('HSET', counts, 'b', line == '' and id .. '=' .. rest or id .. ' ' .. line)
end
local places = ''
for at = 5, #entry[2], 2 do
  if entry[2][at] == 'p' then
    places = entry[2][at + 1]
  end
end
for at = 5, #entry[2], 2 do
  if entry[2][at] == 'd' then
    -- Repeats of the message are told no text: neither the one of before, nor the one of now.
    local length, names = match(entry[2][at + 1], '^(%d+) (.*)$')
    local head = cmsgpack.pack({select(2, cmsgpack.unpack_limit(rest, 6, 1))})
    local about = id .. ' ' .. cmsgpack.pack({head, entry[2][4], places})
    call('HSET', prefix .. 'e:' .. sub(names, 1, length), sub(names, length + 1), about)
  end
end

local last_ms, last_count = tonumber(global[3]) or 0, tonumber(global[4]) or 0
if ms < last_ms or (ms == last_ms and count <= last_count) then
  ms, count = last_ms, last_count + 1
  if count > 65535 then
    ms, count = last_ms + 1, 0
  end
end
local number = format('%.0f-%.0f', ms, count)
local generation, inbox_floor = global[2], tonumber(global[5]) or 0
local base, any_id, digits = (generation - 1) * GENERATION + 1, generation .. '-*', #generation + 2
local spilled, offsets = false, {}

local function put(key, at)
  return call('XADD', key, at, 'n', number, 'c', conversation, 'u', update, 't', with_text == 1 and id or '')
end

-- As ``give`` of append.
for _, user in ipairs(users) do
  local key = prefix .. 'i:' .. user
  local place = put(key, any_id)
  local offset = base + tonumber(sub(place, digits))
  if offset == base then
    call('ZADD', prefix .. 'x:age:i', 'NX', ms, 'i' .. user)
    if inbox_floor > 0 then
      put(key, generation .. '-' .. format('%.0f', inbox_floor))
      call('XDEL', key, place)
      offset = base + inbox_floor
    end
  elseif offset - base > MOST_OFFSETS then
    spilled = true
  end
  if most_kept > 0 then
    call('SADD', prefix .. 'x:full', 'i' .. user)
  end
  offsets[#offsets + 1], offsets[#offsets + 2] = user, offset
end
call('HSET', prefix .. 'g', 'ms', format('%.0f', ms), 'seq', count)
if spilled then
  call('HSET', prefix .. 'g', 'generation', format('%.0f', generation + 1), 'floor', 0)
end
if cid_key ~= '' then
  call('SET', prefix .. cid_key, number, 'PX', cid_time)
end
return {now, 'ok', ms, count, offsets}
