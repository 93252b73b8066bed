-- @include "offsets"
-- @include "ids"
-- The first entry of an inbox whose message's id is not before ``since``; nil if there is none. ``last`` is the inbox's end.
-- An inbox has its messages in the order of their ids, so this is a binary search.
local function first_since(key, since, last)
  local low, high, found = 1, last, nil
  while low <= high do
    local middle = floor((low + high) / 2)
    local entry = call('XRANGE', key, id_of(middle), '+', 'COUNT', 1)[1]
    if not entry then
      high = middle - 1
    elseif is_before(entry[2][2], since) then
      low = offset_of(entry[1]) + 1
    else
      found, high = entry, middle - 1
    end
  end
  return found
end
