-- @include "budget"
-- @include "removeMessage"
-- Deletes a message of an erased user, and what points to its time.
local function erase_message(conversation, entry)
  remove_message(conversation, entry)
  call('ZREM', prefix .. 'x:late', entry[1])
  spend(1, #entry[2][2])
end
