-- @include "ownKey"
-- How many of the first ``total`` messages of a room are a member's own. ``own`` is the total of the member's
-- messages. Deleted messages leave the list, so it begins with the first message that is kept.
local function own_among(room, user, total, own)
  local key = own_key(room, user)
  local last = call('ZREVRANGEBYSCORE', key, total, '-inf', 'LIMIT', 0, 1)[1]
  if last then
    return tonumber(last)
  end
  local first = call('ZRANGE', key, 0, 0)[1]
  return first and first - 1 or own
end
