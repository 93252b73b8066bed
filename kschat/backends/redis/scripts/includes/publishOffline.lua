-- @include "base"
-- A user has left a daemon, at ``seen``. If the user is on no other, publishes that, with the latest time reported by any
-- daemon, and returns true. Otherwise keeps the time until the user leaves the last daemon, whose clock may be behind.
local function publish_offline(user, seen)
  local before = call('HGET', prefix .. 'seen', user)
  if before and tonumber(before) > tonumber(seen) then
    seen = before
  end
  if call('EXISTS', prefix .. 'on:' .. user) == 0 then
    if before then
      call('HDEL', prefix .. 'seen', user)
    end
    call('PUBLISH', prefix .. 'p:' .. user, '0' .. seen)
    return true
  end
  if seen ~= before then
    call('HSET', prefix .. 'seen', user, seen)
  end
end
