-- Deletes some of the expired messages in conversations, and conversations that have become empty.
--
-- Input:
--   ARGV[1]  msgpack: the id before which messages go; how many entries and how many bytes of messages
--            this may touch, and for how many milliseconds
-- Output:
--   1 if there may be more to do, or 0

-- @include "hideOldest"
-- @include "removeMessage"
-- @include "sweepByAge"
-- @include "sweptUntil"
-- @include "usersOf"

local bound, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))

-- Nothing is left: a room stays as long as it has members.
local function forget_conversation(conversation)
  if is_room(conversation) then
    if call('HLEN', prefix .. 'm:' .. conversation) > 0 then
      return empty_until(bound)
    end
  else
    local one, other = users_of(conversation)
    call('ZREM', prefix .. 'v:' .. one, '1' .. conversation)
    call('ZREM', prefix .. 'v:' .. other, '2' .. conversation)
  end
  call('DEL', prefix .. 'c:' .. conversation, prefix .. 'h:' .. conversation, prefix .. 'n:' .. conversation)
  call('DEL', prefix .. 'w:' .. conversation, prefix .. 'y:' .. conversation, prefix .. 'z:' .. conversation)
  return 'gone'
end

local function sweep_conversation(conversation)
  hide_oldest(conversation, '-', '(' .. bound, math.huge, function(entry)
    remove_message(conversation, entry)
  end)
  local oldest = call('XRANGE', prefix .. 'c:' .. conversation, '-', '+', 'COUNT', 1)[1]
  if not oldest then
    return forget_conversation(conversation)
  end
  return not is_before(oldest[1], bound) and time_of(oldest[1]) or nil
end

begin_step(entries, bytes, milliseconds)
if is_before(swept_until(), bound) then
  call('HSET', prefix .. 'g', 'age', bound)
end
return sweep_by_age(prefix .. 'x:age:c', bound, sweep_conversation)
