-- @include "base"
-- Deletes an event of hooks from its queue.
local function drop_event(number)
  local events = prefix .. 'x:hook:events'
  local row = call('HGET', events, number)
  if row then
    call('ZREM', prefix .. 'x:hook:due:' .. cmsgpack.unpack(row)[1], number)
    call('HDEL', events, number)
  end
  call('ZREM', prefix .. 'x:hook:order', number)
end
