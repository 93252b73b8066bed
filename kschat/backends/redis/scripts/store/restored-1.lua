-- An operator says that a copy was put in the place of this data: another generation of offsets begins.
--
-- Output:
--   the generation; 0 if kschat has kept nothing here

-- @include "nextGeneration"

local key = prefix .. 'g'
local known = call('HGET', key, 'generation')
if not known then
  return 0
end
local generation = next_generation(tonumber(known))
call('HSET', key, 'generation', format('%.0f', generation), 'floor', 0)
return generation
