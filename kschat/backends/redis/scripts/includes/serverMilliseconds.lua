-- @include "base"
-- The server's clock, in milliseconds since 1970.
local function server_milliseconds()
  local time = call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end
