-- @include "budget"
-- @include "hidden"
-- @include "ids"
-- @include "removeMessage"
-- An inbox holds a message no longer. ``begin`` is what its conversation begins with.
local function release(conversation, id, begin)
  local held = false
  if is_room(conversation) and call('HEXISTS', prefix .. 'n:' .. conversation, id) == 1 then
    held = call('HINCRBY', prefix .. 'n:' .. conversation, id, -1) > 0
  end
  if not held and begin ~= '-' and is_before(id, begin) then
    local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
    if entry then
      spend(0, #entry[2][2])
      remove_message(conversation, entry)
    end
  end
end
