-- Messages by where they are. What is beyond some bytes is left out at the end.
--
-- Input:
--   ARGV[1]  msgpack: of each its conversation and its id
-- Output:
--   of each the message without its number, its facts, its packed places ('' if none); an empty list for one that is gone
--
-- Flags: no-writes

-- @include "asTold"
-- @include "base"
-- @include "pageBytes"

local wanted = cmsgpack.unpack(ARGV[1])
local found, bytes = {}, 0
for at = 1, #wanted, 2 do
  local entry = call('XRANGE', prefix .. 'c:' .. wanted[at], wanted[at + 1], wanted[at + 1])[1]
  found[#found + 1] = entry and as_told(entry) or {}
  bytes = bytes + (entry and #entry[2][2] or 0)
  if bytes >= PAGE_BYTES then
    break
  end
end
return found
