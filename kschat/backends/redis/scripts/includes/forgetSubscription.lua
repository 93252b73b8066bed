-- @include "base"
-- A user has a push subscription no more; whether there was one.
local function forget_subscription(user, endpoint)
  local found = call('HDEL', prefix .. 'p:' .. user, endpoint)
  if found == 1 then
    call('HDEL', prefix .. 'p', endpoint)
  end
  return found
end
