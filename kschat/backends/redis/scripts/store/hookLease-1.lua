-- Takes, extends or gives back the lease of the daemon that makes the events of hooks.
--
-- Input:
--   ARGV[1]  who asks
--   ARGV[2]  for how many milliseconds; 0: it is given back
-- Output:
--   1 if who asks has it now, or has given it back; 0 if another one has it

-- @include "base"

local key = prefix .. 'x:hook:lease'
local holder = call('GET', key)
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  call('DEL', key)
else
  call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return 1
