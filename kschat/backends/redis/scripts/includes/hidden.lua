-- @include "base"
-- The hidden part of a conversation. from: the id of the first visible message ('-' if nothing is hidden); total: how many
-- messages are hidden; first: how many of them side 1 sent.
local function hidden(conversation)
  local found = call('HMGET', prefix .. 'h:' .. conversation, 'f', 'ft', 'fa')
  return {from = found[1] or '-', total = tonumber(found[2]) or 0, first = tonumber(found[3]) or 0}
end
