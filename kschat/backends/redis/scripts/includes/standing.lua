-- @include "hidden"
-- @include "membership"
-- @include "ownAmong"
-- The state of a conversation for a user on a side of it (1 or 2; 0: a room); nil if the user may not see it.
-- others: how many messages of others there were; read: how many of them are read or hidden; from: the id of
-- the first message that is not hidden; member: the membership, in a room.
local function standing(conversation, side, user)
  local gone = hidden(conversation)
  if side == 0 then
    local member = membership(conversation, user)
    if not member then
      return
    end
    local total, read = tonumber(call('HGET', prefix .. 'h:' .. conversation, 't') or 0), member.read
    if gone.total > read then
      read = math.max(read, gone.total - own_among(conversation, user, gone.total, member.own))
    end
    return {others = total - member.own, read = read, from = gone.from, member = member}
  end
  local counts = call('HMGET', prefix .. 'h:' .. conversation, 't', 'a', 'r' .. side)
  if not counts[1] then
    return
  end
  local total, first, read = tonumber(counts[1]), tonumber(counts[2]), tonumber(counts[3]) or 0
  local others, others_gone = first, gone.first
  if side == 1 then
    others, others_gone = total - first, gone.total - gone.first
  end
  return {others = others, read = math.max(read, others_gone), from = gone.from}
end
