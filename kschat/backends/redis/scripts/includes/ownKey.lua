-- @include "base"
-- The list of a member's own messages in a room: each one's number among them, by its number in the room.
local function own_key(room, user)
  return prefix .. 'o:' .. #room .. ':' .. room .. user
end
