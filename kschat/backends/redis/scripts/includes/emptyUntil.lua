-- @include "base"
-- @include "ids"
-- @include "serverMilliseconds"
-- When to look again at what is empty: whatever comes there is later than all that there is. The server's clock says how
-- long that may take; it may have been ahead, so that it is believed for an hour.
local function empty_until(bound)
  local last = tonumber(call('HGET', prefix .. 'g', 'ms') or 0)
  return math.max(time_of(bound), math.min(server_milliseconds(), last + 3600000))
end
