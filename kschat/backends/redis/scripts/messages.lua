-- Messages by where they are. ARGV[1] is a packed list of each one's conversation and id. Returns of each a list of the
-- rest of it, its facts and its packed places ('' for none); an empty list for one that is gone. What is beyond some bytes
-- is left out at the end.

local wanted = cmsgpack.unpack(ARGV[1])
local found, bytes = {}, 0
for at = 1, #wanted, 2 do
  local entry = call('XRANGE', p .. 'c:' .. wanted[at], wanted[at + 1], wanted[at + 1])[1]
  found[#found + 1] = entry and as_told(entry) or {}
  bytes = bytes + (entry and #entry[2][2] or 0)
  if bytes >= PAGE_BYTES then
    break
  end
end
return found
