-- @include "base"
-- Messages older than this, in milliseconds, may be gone from conversations although an inbox still names them.
local function swept_until()
  return tonumber(call('HGET', prefix .. 'g', 'age') or 0)
end
