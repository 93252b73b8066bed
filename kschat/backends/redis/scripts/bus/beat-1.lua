-- Records the heartbeat of a daemon.
--
-- Input:
--   ARGV[1]  its id
--   ARGV[2]  1 if the id is new
--   ARGV[3]  the events that its sockets ask for
--   ARGV[4]  milliseconds of silence after which a daemon is dead
--   ARGV[5]  milliseconds of silence of all daemons after which Redis itself counts as having been down
--   ARGV[6]  milliseconds that all daemons then have to reconnect
-- Output:
--   1 if the daemon was known, or 0; the server's time, in milliseconds; the events that the sockets of all others ask
--   for; ids of dead daemons

-- @include "bury"
-- @include "serverMilliseconds"

local id, is_new, wants = ARGV[1], ARGV[2] == '1', ARGV[3]
local dead_after, away_after, settle = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = server_milliseconds()

-- Keep that any daemon lives. Whether all have had the time to come back.
local function is_settled()
  if math.abs(now - (tonumber(call('GET', prefix .. 'beat')) or 0)) > away_after then
    call('SET', prefix .. 'settled', now + settle)
  end
  call('SET', prefix .. 'beat', now)
  return (tonumber(call('GET', prefix .. 'settled')) or 0) <= now
end

local function publish_wants()
  if call('HGET', prefix .. 'wants', id) ~= wants then
    call('HSET', prefix .. 'wants', id, wants)
    call('PUBLISH', prefix .. 'w', id .. wants)
  end
end

local function bury_the_dead()
  -- Also those whose time lies in the future: the server's clock went back.
  for _, range in ipairs({{'-inf', now - dead_after}, {now + dead_after, '+inf'}}) do
    local found = call('ZRANGEBYSCORE', prefix .. 'daemons', range[1], range[2], 'WITHSCORES')
    for at = 1, #found, 2 do
      bury(found[at], found[at + 1])
    end
  end
end

local function wants_of_others()
  local wanted = 0
  local all = call('HGETALL', prefix .. 'wants')
  for at = 1, #all, 2 do
    if all[at] ~= id then
      wanted = bit.bor(wanted, tonumber(all[at + 1]))
    end
  end
  return wanted
end

local settled = is_settled()
if not is_new and not call('ZSCORE', prefix .. 'daemons', id) then
  return {0, now, 0}
end
call('ZADD', prefix .. 'daemons', now, id)
publish_wants()
if settled then
  bury_the_dead()
end
return {1, now, wants_of_others(), unpack(call('ZRANGE', prefix .. 'dead', 0, 99))}
