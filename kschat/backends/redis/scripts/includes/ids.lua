-- @include "base"
-- Whether an id of a conversation's stream is before another.
local function is_before(one, other)
  local ms, count = match(one, '^(%d+)-(%d+)$')
  local other_ms, other_count = match(other, '^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms < other_ms or (ms == other_ms and tonumber(count) < tonumber(other_count))
end

-- The next id after another.
local function id_after(id)
  local ms, count = match(id, '^(%d+)-(%d+)$')
  return ms .. '-' .. format('%.0f', count + 1)
end

-- The time of an id, in milliseconds; with a fraction that tells some of its count, rounded down.
local function time_of(id)
  local ms, count = match(id, '^(%d+)-(%d+)$')
  return ms + floor(count / 32) / 2048
end
