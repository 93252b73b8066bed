-- @include "serverMilliseconds"
-- Generations are numbered by seconds since 2026, if that is more than one beyond the last. All fit into a double.
local BEGINNING_OF_2026, MAX_GENERATION = 1767225600, 2147483648 - 1048576

-- A generation of which nobody was given offsets. An older copy of this Redis that was put in place brings its older
-- generation with it; the clock gives a later one, although nobody remembers the last.
local function next_generation(known)
  local passed = floor(server_milliseconds() / 1000) - BEGINNING_OF_2026
  return math.max(known + 1, passed < MAX_GENERATION and passed or 0)
end
