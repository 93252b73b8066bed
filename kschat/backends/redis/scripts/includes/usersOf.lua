-- @include "base"
-- The two users of a conversation: side 1, then side 2.
local function users_of(conversation)
  local length, both = match(conversation, '^(%d+):(.*)$')
  return sub(both, 1, length), sub(both, length + 1)
end
