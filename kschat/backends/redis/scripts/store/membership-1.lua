-- Adds a user to a room, or removes it.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); 'join' or 'leave', the room with its #, the user, how many
--            members the room may have, of how many rooms the user may be a member
-- Output:
--   1 if anything changed, or 0; 'full', 'rooms' (the user is in as many as a user may be), 'late', 'again', or 'new' if
--   the data is gone

-- @include "ownKey"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, what, room, user, most_members, most_rooms = unpack(cmsgpack.unpack(ARGV[1]))
local members, list, about = prefix .. 'm:' .. room, prefix .. 'v:' .. user, prefix .. 'u:' .. user
local now = server_milliseconds()

-- How many rooms the user is in. Where that is not known, they are counted once; they are listed with the conversations.
local function count_rooms()
  local known = call('HGET', about, 'n')
  if known then
    return tonumber(known)
  end
  local count = 0
  for _, name in ipairs(call('ZRANGE', list, 0, -1)) do
    if sub(name, 1, 1) == '0' then
      count = count + 1
    end
  end
  return count
end

local function leave()
  if call('HEXISTS', members, user) == 0 then
    return 0
  end
  call('HSET', about, 'n', count_rooms() - 1)
  call('ZREM', list, '0' .. room)
  call('UNLINK', own_key(room, user))
  call('HDEL', prefix .. 'j:' .. room, user)
  return call('HDEL', members, user)
end

local function join()
  if call('HEXISTS', members, user) == 1 then
    return 0
  end
  if call('HLEN', members) >= most_members then
    return 'full'
  end
  local rooms = count_rooms()
  if rooms >= most_rooms then
    return 'rooms'
  end
  call('HSET', about, 'n', rooms + 1)
  -- What was written before counts as read, and the room is listed by the time of that.
  local counts = call('HMGET', prefix .. 'h:' .. room, 't', 'z')
  local total = counts[1] or 0
  call('HSET', prefix .. 'j:' .. room, user, total)
  call('ZADD', list, counts[2] or 0, '0' .. room)
-- @slot "outbox"
  return call('HSET', members, user, '0 ' .. total)
end

local global = call('HMGET', prefix .. 'g', 'epoch', 'w:' .. writer)
local refused = refusal(now, deadline, turn, global[2])
if refused then
  return refused
end
if what == 'leave' then
  return leave()
end
return global[1] and join() or 'new'
