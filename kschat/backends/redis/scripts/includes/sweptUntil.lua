-- @include "base"
-- Messages before this id may be gone from conversations although an inbox still names them.
local function swept_until()
  return call('HGET', prefix .. 'g', 'age') or '0-0'
end
