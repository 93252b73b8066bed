-- Returns a part of an inbox as it is kept, without messages.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  the id after which it begins; '' for the beginning
--   ARGV[3]  how many entries are looked at
-- Output:
--   the id of the last entry that was looked at, if there may be more ('' if not); a list of each entry's id, the id of its message or
--   update, the conversation, and the update without its number ('' for a message). Messages that are gone are left out.
--
-- Flags: no-writes

-- @include "base"

local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local found = {}
local entries = call('XRANGE', prefix .. 'i:' .. ARGV[1], from, '+', 'COUNT', ARGV[3])
for _, entry in ipairs(entries) do
  local id, conversation, kind = entry[2][2], entry[2][4], entry[2][5]
  if kind == 'u' then
    found[#found + 1] = {entry[1], id, conversation, entry[2][6]}
  elseif call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1] then
    found[#found + 1] = {entry[1], id, conversation, ''}
  end
end
return {#entries == tonumber(ARGV[3]) and entries[#entries][1] or '', found}
