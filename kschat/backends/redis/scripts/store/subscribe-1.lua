-- Keeps a push subscription of a user; the oldest are forgotten if there are too many.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the user, the endpoint, its two keys, how many the user may have
-- Output:
--   1; 'late', 'again', or 'new' if the data is gone

-- @include "forgetSubscription"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, user, endpoint, public, auth, most = unpack(cmsgpack.unpack(ARGV[1]))
local mine, global_key = prefix .. 'p:' .. user, prefix .. 'g'

local function number_of(kept)
  return tonumber(match(kept, '^%d+'))
end

local function forget_oldest()
  local all, oldest, least = call('HGETALL', mine), nil, nil
  for at = 1, #all, 2 do
    local number = number_of(all[at + 1])
    if not least or number < least then
      oldest, least = all[at], number
    end
  end
  forget_subscription(user, oldest)
end

local function keep()
  -- That browser has another user now.
  local before = call('HGET', prefix .. 'p', endpoint)
  if before then
    forget_subscription(before, endpoint)
  end
  local number = call('HINCRBY', global_key, 'subscribed', 1)
  call('HSET', mine, endpoint, format('%.0f %s %s', number, public, auth))
  call('HSET', prefix .. 'p', endpoint, user)
  while call('HLEN', mine) > most do
    forget_oldest()
  end
  return 1
end

local global = call('HMGET', global_key, 'epoch', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[2])
if refused then
  return refused
end
return global[1] and keep() or 'new'
