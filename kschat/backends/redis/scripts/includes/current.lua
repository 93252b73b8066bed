-- @include "base"
-- Whether any changed message is not written over in its conversation's stream yet (``w`` at the top of store/store.py).
local any_changed = call('EXISTS', prefix .. 'x:changed') == 1

-- A message without its number, as it is now. ``entry`` is of its conversation's stream.
local function current(conversation, entry)
  return any_changed and call('HGET', prefix .. 'w:' .. conversation, entry[1]) or entry[2][2]
end
