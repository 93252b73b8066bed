-- Returns messages by conversation and id. Messages beyond the byte limit are left out at the end, but not the first.
--
-- Input:
--   ARGV[1]  msgpack: for each its conversation and its id
-- Output:
--   for each the message without its number, its facts, its packed places ('' if none); an empty list for a deleted one
--
-- Flags: no-writes

-- @include "asTold"
-- @include "current"
-- @include "pageBytes"

local wanted = cmsgpack.unpack(ARGV[1])
local found, bytes = {}, 0
for at = 1, #wanted, 2 do
  local entry = call('XRANGE', prefix .. 'c:' .. wanted[at], wanted[at + 1], wanted[at + 1])[1]
  local now = entry and current(wanted[at], entry)
  bytes = bytes + (now and #now or 0)
  if bytes > PAGE_BYTES and at > 1 then
    break
  end
  found[#found + 1] = entry and as_told(entry, now) or {}
end
return found
