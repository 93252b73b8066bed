-- @include "base"
-- A member of a room; nil if the user is not a member. own: how many messages it has sent since it joined; read:
-- how many of others it has read.
local function membership(room, user)
  local found = call('HGET', prefix .. 'm:' .. room, user)
  if found then
    local own, read = match(found, '^(%d+) (%d+)$')
    return {own = tonumber(own), read = tonumber(read)}
  end
end
