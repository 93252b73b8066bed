-- Adds a user to a room, or removes it.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); 'join' or 'leave', the room with its #, the user, how many
--            members the room may have
-- Output:
--   1 if anything changed, or 0; 'full', 'late', 'again', or 'new' if the data is gone

-- @include "ownKey"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, what, room, user, most_members = unpack(cmsgpack.unpack(ARGV[1]))
local members, list = prefix .. 'm:' .. room, prefix .. 'v:' .. user
local now = server_milliseconds()

local function leave()
  call('ZREM', list, '0' .. room)
  call('UNLINK', own_key(room, user))
  return call('HDEL', members, user)
end

local function join()
  if call('HEXISTS', members, user) == 1 then
    return 0
  end
  if call('HLEN', members) >= most_members then
    return 'full'
  end
  -- What was written before counts as read.
  local total = call('HGET', prefix .. 'h:' .. room, 't') or 0
  call('ZADD', list, now, '0' .. room)
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
