-- Deletes events of a consumer, or notes when they are to be tried again.
--
-- Input:
--   ARGV[1]  msgpack: the consumer; the numbers of events that need no other try; of those that do: number, when, how often
--            it was tried, the consumer's note
-- Output:
--   'ok'

-- @include "dropEvent"

local consumer, done, again = unpack(cmsgpack.unpack(ARGV[1]))
local EVENTS = prefix .. 'x:hook:events'
for _, number in ipairs(done) do
  drop_event(format('%.0f', number))
end
for at = 1, #again, 4 do
  local number = format('%.0f', again[at])
  local row = call('HGET', EVENTS, number)
  if row then
    local event = cmsgpack.unpack(row)[4]
    call('HSET', EVENTS, number, cmsgpack.pack({consumer, again[at + 2], again[at + 3], event}))
    call('ZADD', prefix .. 'x:hook:due:' .. consumer, format('%.0f', again[at + 1]), number)
  end
end
return 'ok'
