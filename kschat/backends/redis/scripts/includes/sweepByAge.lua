-- @include "budget"
-- @include "emptyUntil"
-- @include "ids"
-- Look at what an index says to be before the id ``bound``, and let ``sweep`` delete what is: it returns 'gone', or the
-- time of the oldest that it left, or nil if there may be more to do. 1 if there may be more to do, or 0.
--
-- To look at one that has nothing to delete counts as an entry. Somebody else's key is left alone, and keeps no other from
-- being looked at.
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
