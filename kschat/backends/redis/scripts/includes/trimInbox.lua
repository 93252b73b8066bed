-- @include "ids"
-- Removes an entry of an inbox, and all before it.
local function trim_inbox(key, entry)
  call('XTRIM', key, 'MINID', '=', id_after(entry[1]))
end
