-- The last offsets of many inboxes. ARGV[1] is a packed list of users; returns a list of offsets.

local ends = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  ends[at] = last_of(p .. 'i:' .. user)
end
return ends
