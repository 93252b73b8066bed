-- @include "budget"
-- @include "facts"
-- @include "hidden"
-- @include "ids"
-- @include "isRoom"
-- @include "ownKey"

-- From here on a conversation begins behind this entry. In a room, its senders' own messages are listed no more.
local function begin_behind(conversation, entry, senders)
  local oldest = facts(entry)
  local first = 0
  if is_room(conversation) then
    for sender in pairs(senders) do
      call('ZREMRANGEBYSCORE', own_key(conversation, sender), '-inf', oldest.total)
    end
  elseif oldest.sender == '1' then
    first = oldest.own
  else
    first = oldest.total - oldest.own
  end
  call('HSET', prefix .. 'h:' .. conversation, 'f', id_after(entry[1]), 'ft', oldest.total, 'fa', first)
end

-- Hide messages of a conversation between two ids, whose numbers are not beyond ``most``, and as many as the step may;
-- ``each`` is called with each entry. The number of the last one; nil if there was none.
local function hide_oldest(conversation, from, upto, most, each)
  local key, last, total, senders = prefix .. 'c:' .. conversation, nil, nil, {}
  while not is_spent() do
    -- One by one, since their sizes are not known.
    local entry = call('XRANGE', key, from, upto, 'COUNT', 1)[1]
    local message = entry and facts(entry)
    if not entry or message.total > most then
      break
    end
    senders[message.sender] = true
    each(entry)
    spend(1, #entry[2][2])
    last, total, from = entry, message.total, '(' .. entry[1]
  end
  if last then
    local begin = hidden(conversation).from
    if begin == '-' or not is_before(last[1], begin) then
      begin_behind(conversation, last, senders)
    end
  end
  return total
end
