-- Marks all messages of others in a conversation, up to one, as read.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the user, the conversation, the user's side of it (1 or 2;
--            0: a room), the last id to mark
-- Output:
--   1 if any was unread before, or 0; 'late' or 'again'

-- @include "facts"
-- @include "refusal"
-- @include "serverMilliseconds"
-- @include "standing"

local deadline, writer, turn, user, conversation, side, upto = unpack(cmsgpack.unpack(ARGV[1]))

local function mark()
  local now = standing(conversation, side, user)
  local entry = now and call('XREVRANGE', prefix .. 'c:' .. conversation, upto, now.from, 'COUNT', 1)[1]
  if not entry then
    return 0
  end
  local message = facts(entry)
  local read
  if side == 0 then
    read = message.total - own_among(conversation, user, message.total, now.member.own)
  elseif tonumber(message.sender) == side then
    read = message.total - message.own
  else
    read = message.own
  end
  if read <= now.read then
    return 0
  end
  if side == 0 then
    call('HSET', prefix .. 'm:' .. conversation, user, now.member.own .. ' ' .. read)
  else
    call('HSET', prefix .. 'h:' .. conversation, 'r' .. side, read)
  end
  return 1
end

local held = call('HGET', prefix .. 'g', 'w:' .. writer)
return refusal(server_milliseconds(), deadline, turn, held) or mark()
