-- Returns events of a consumer that are due, the first one first.
--
-- Input:
--   ARGV[1]  the consumer
--   ARGV[2]  up to which time, in milliseconds
--   ARGV[3]  how many at the most
-- Output:
--   of each: its number, how often it was tried, the consumer's note, the event
--
-- Flags: no-writes

-- @include "base"

local numbers = call('ZRANGEBYSCORE', prefix .. 'x:hook:due:' .. ARGV[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
local listed = {}
for _, number in ipairs(numbers) do
  local row = call('HGET', prefix .. 'x:hook:events', number)
  if row then
    local _, attempts, note, event = unpack(cmsgpack.unpack(row))
    listed[#listed + 1] = {number, attempts, note, event}
  end
end
return listed
