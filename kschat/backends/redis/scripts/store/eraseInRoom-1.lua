-- Erases some of what a user wrote in a room.
--
-- Inboxes of members name a message to a room by its id and the room: they skip those that are gone.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the user; the room with its #; the id after which this begins
--            ('-' for the first); how many entries and how many bytes of messages this may touch, and for how many
--            milliseconds
-- Output:
--   the id after which to go on ('' at the end), and how many messages were deleted; 'late' or 'again'

-- @include "eraseMessage"
-- @include "facts"
-- @include "ownKey"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, user, room, from, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))
local key, about, erased = prefix .. 'c:' .. room, prefix .. 'h:' .. room, 0

-- What is listed of the room is its newest message that is left.
local function list_newest(gone)
  if call('HGET', about, 'l') == gone then
    local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    call('HDEL', about, 'b')
    if newest then
      call('HSET', about, 'l', newest[1])
    else
      call('HDEL', about, 'l')
    end
  end
end

local held = call('HGET', prefix .. 'g', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, held)
if refused then
  return refused
end
begin_step(entries, bytes, milliseconds)
while not is_spent() do
  -- One by one, since their sizes are not known.
  local entry = call('XRANGE', key, from, '+', 'COUNT', 1)[1]
  if not entry then
    call('UNLINK', own_key(room, user))
    return {'', erased}
  end
  if facts(entry).sender == user then
    erase_message(room, entry)
    list_newest(entry[1])
    erased = erased + 1
  else
    spend(1, #entry[2][2])
  end
  from = '(' .. entry[1]
end
return {from, erased}
