-- Somebody has put a copy in place of what was here, and says so. Returns the generation of offsets that begins with that, or
-- 0 where nothing is here.

local key = p .. 'g'
local known = call('HGET', key, 'generation')
if not known then
  return 0
end
local again = next_generation(tonumber(known))
call('HSET', key, 'generation', format('%.0f', again), 'floor', 0)
return again
