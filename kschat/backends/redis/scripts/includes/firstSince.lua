-- @include "offsets"
-- @include "ids"
-- The first entry of an inbox whose message is not older than ``ms``; nil if there is none. ``last`` is the inbox's end.
-- An inbox has its messages in the order of their time, so this is a binary search.
local function first_since(key, ms, last)
  local low, high, found = 1, last, nil
  while low <= high do
    local middle = floor((low + high) / 2)
    local entry = call('XRANGE', key, id_of(middle), '+', 'COUNT', 1)[1]
    if not entry then
      high = middle - 1
    elseif time_of(entry[2][2]) < ms then
      low = offset_of(entry[1]) + 1
    else
      found, high = entry, middle - 1
    end
  end
  return found
end
