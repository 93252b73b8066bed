-- @include "base"
local function is_room(conversation)
  return sub(conversation, 1, 1) == '#'
end
