-- When users were last seen. ARGV[1] is a packed list of users; returns a list of times, '' for none.

local seen = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  seen[at] = call('HGET', p .. 'u:' .. user, 's') or ''
end
return seen
