-- @include "offsets"
-- The greatest offset assigned in an inbox; 0 if there is none.
local function inbox_end(key)
  local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if newest then
    return offset_of(newest[1])
  end
  if call('EXISTS', key) == 0 then
    return 0
  end
  local info = call('XINFO', 'STREAM', key)
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then
      return offset_of(info[at + 1])
    end
  end
end
