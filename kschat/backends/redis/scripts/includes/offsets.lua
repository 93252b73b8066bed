-- @include "base"
-- @include "generation"
-- The offset of an id.
local function offset_of(id)
  local generation, count = match(id, '^(%d+)-(%d+)$')
  return (generation - 1) * GENERATION + count + 1
end

-- The id of an offset, from 1 on.
local function id_of(offset)
  local generation = floor((offset - 1) / GENERATION)
  return format('%.0f-%.0f', generation + 1, offset - 1 - generation * GENERATION)
end
