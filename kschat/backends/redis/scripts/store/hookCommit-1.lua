-- Notes what was looked at for hooks, and puts events into the queues: all of it, or nothing.
--
-- Input:
--   ARGV[1]  msgpack: who asks; the first id of the log, and of the joins, that is to stay ('' for all); marks that were
--            looked at: users and their numbers; users who are known as connected from now on; and no longer; users with
--            undelivered messages, and when to look at them if that is not known; users, when to look at them again, and
--            the last offsets of which an event has told; users who wait no more; events: the consumer, the event (packed,
--            which this does not parse), when it is due; how many events there may be; how many this drops
--            at the most, beside as many as are new
-- Output:
--   how many of the oldest events were deleted; -1 if another daemon has the lease, and nothing was done

-- @include "dropEvent"

local holder, log, joins, marks, connected, disconnected, undelivered, waiting, settled, events, most, most_dropped =
  unpack(cmsgpack.unpack(ARGV[1]))
local WAITING, TOLD, EVENTS = prefix .. 'x:hook:waiting', prefix .. 'x:hook:told', prefix .. 'x:hook:events'

if call('GET', prefix .. 'x:hook:lease') ~= holder then
  return -1
end
if log ~= '' then
  call('XTRIM', prefix .. 'x:hook:log', 'MINID', '=', log)
end
if joins ~= '' then
  call('XTRIM', prefix .. 'x:hook:joins', 'MINID', '=', joins)
end
for at = 1, #marks, 2 do
  if tonumber(call('ZSCORE', prefix .. 'x:hook:marks', marks[at])) == marks[at + 1] then
    call('ZREM', prefix .. 'x:hook:marks', marks[at])
  end
end
for _, user in ipairs(connected) do
  call('SADD', prefix .. 'x:hook:connected', user)
end
for _, user in ipairs(disconnected) do
  call('SREM', prefix .. 'x:hook:connected', user)
end
for _, user in ipairs(settled) do
  call('ZREM', WAITING, user)
  call('HDEL', TOLD, user)
end
for at = 1, #waiting, 3 do
  call('ZADD', WAITING, format('%.0f', waiting[at + 1]), waiting[at])
  call('HSET', TOLD, waiting[at], format('%.0f', waiting[at + 2]))
end
for at = 1, #undelivered, 2 do
  call('ZADD', WAITING, 'NX', format('%.0f', undelivered[at + 1]), undelivered[at])
end
for at = 1, #events, 3 do
  local number = call('HINCRBY', prefix .. 'x:hook', 'event', 1)
  call('HSET', EVENTS, number, cmsgpack.pack({events[at], 0, '', events[at + 1]}))
  call('ZADD', prefix .. 'x:hook:order', number, number)
  call('ZADD', prefix .. 'x:hook:due:' .. events[at], format('%.0f', events[at + 2]), number)
end
local dropped = math.min(math.max(call('HLEN', EVENTS) - most, 0), most_dropped + #events / 3)
for _, number in ipairs(dropped > 0 and call('ZRANGE', prefix .. 'x:hook:order', 0, dropped - 1) or {}) do
  drop_event(number)
end
return dropped
