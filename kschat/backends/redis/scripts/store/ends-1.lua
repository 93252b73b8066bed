-- The ends of many inboxes.
--
-- Input:
--   ARGV[1]  msgpack: the users
-- Output:
--   the last offset of each, in their order; '' if a key of another application is in the way
--
-- Flags: no-writes

-- @include "inboxEnd"

local ends = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  local fine, last = pcall(inbox_end, prefix .. 'i:' .. user)
  ends[at] = fine and last or ''
end
return ends
