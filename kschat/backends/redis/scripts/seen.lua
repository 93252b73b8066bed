-- When users were last seen. ARGV[1] is a packed list of users; returns a list of times, '' for none.

local seen = {}
for at, user in ipairs(cmsgpack.unpack(ARGV[1])) do
  local found = redis.pcall('HGET', p .. 'u:' .. user, 's')
  seen[at] = type(found) == 'string' and found or ''
end
return seen
