-- @include "firstSince"
-- @include "sweptUntil"
-- The smallest offset of an inbox that is kept; ``last`` + 1 if the inbox is empty.
local function inbox_start(key, last)
  local swept, from = nil, '-'
  for count = 1, 10, 9 do
    local entries = call('XRANGE', key, from, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      swept = swept or swept_until()
      local id = entry[2][2]
      if not is_before(id, swept) or call('XRANGE', prefix .. 'c:' .. entry[2][4], id, id)[1] then
        return offset_of(entry[1])
      end
    end
    if #entries < count then
      return last + 1
    end
    from = '(' .. entries[count][1]
  end
  local entry = first_since(key, swept, last)
  return entry and offset_of(entry[1]) or last + 1
end
