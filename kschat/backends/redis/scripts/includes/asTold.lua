-- @include "headOf"
-- A message in the form that scripts return: the message without its number (see head_of), its facts,
-- its packed places in a room ('' if none).
local function as_told(entry)
  local fields = entry[2]
  local rest = head_of(fields[2])
  for at = 5, #fields, 2 do
    if fields[at] == 'p' then
      return {rest, fields[4], fields[at + 1]}
    end
  end
  return {rest, fields[4], ''}
end
