-- The last offsets of many inboxes. ARGV[1] is a packed list of users; returns a list of offsets, '' where a key
-- is somebody else's.

local ends = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  local fine, last = pcall(last_of, p .. 'i:' .. user)
  ends[at] = fine and last or ''
end
return ends
