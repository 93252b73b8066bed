-- @include "base"
-- @include "ids"
-- @include "serverMilliseconds"
-- When to check an empty inbox or conversation again: new entries are later than all existing ones. The server's clock
-- gives the earliest time; it may have been ahead, so it is trusted for an hour only.
local function empty_until(bound)
  local last = tonumber(call('HGET', prefix .. 'g', 'ms') or 0)
  return math.max(time_of(bound), math.min(server_milliseconds(), last + 3600000))
end
