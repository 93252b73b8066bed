-- @include "headOf"
-- A message in the form that scripts return: the message without its number (see head_of), its facts,
-- its packed places in a room ('' if none). ``now``: the message as it is now, if it may have been changed.
local function as_told(entry, now)
  local fields = entry[2]
  local rest = head_of(now or fields[2])
  for at = 5, #fields, 2 do
    if fields[at] == 'p' then
      return {rest, fields[4], fields[at + 1]}
    end
  end
  return {rest, fields[4], ''}
end
