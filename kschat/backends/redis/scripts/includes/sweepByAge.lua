-- @include "budget"
-- @include "emptyUntil"
-- @include "ids"
-- Visits the entries that an index lists before the id ``bound``, and lets ``sweep`` delete the old ones: it returns
-- 'gone', or the time of the oldest that it left, or nil if there may be more to do.
--
-- Returns 1 if there may be more to do, or 0.
--
-- A visit that deletes nothing counts as an entry. A key of another application is left alone and does not block the
-- others.
local function sweep_by_age(index, bound, sweep)
  -- (Of messages whose ids are so close that they have the same time, some may wait for a later bound.)
  local upto = time_of(bound)
  local beyond = upto + 1 / 2048
  while not is_spent() do
    local name = call('ZRANGEBYSCORE', index, '-inf', '(' .. format('%.11f', beyond), 'LIMIT', 0, 1)[1]
    if not name then
      return 0
    end
    local fine, oldest = pcall(sweep, sub(name, 2))
    if not fine then
      oldest = empty_until(bound)
    end
    if oldest == 'gone' then
      call('ZREM', index, name)
    elseif oldest then
      call('ZADD', index, format('%.11f', math.max(oldest, beyond)), name)
    end
    spend(1, 0)
  end
  return 1
end
