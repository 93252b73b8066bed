-- Records that an operator restored this data from a copy: another generation of offsets begins.
--
-- Output:
--   the generation; 0 if kschat has stored nothing here

-- @include "nextGeneration"

local key = prefix .. 'g'
local known = call('HGET', key, 'generation')
if not known then
  return 0
end
local generation = next_generation(tonumber(known))
call('HSET', key, 'generation', format('%.0f', generation), 'floor', 0)
return generation
