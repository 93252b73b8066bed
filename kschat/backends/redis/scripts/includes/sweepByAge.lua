-- @include "budget"
-- @include "serverMilliseconds"
-- Look at what an index says to be older than ``bound``, and let ``sweep`` delete what is: it returns 'gone', or from
-- when the oldest is that it left, or nil if there may be more to do. 1 if there may be more to do, or 0.
--
-- To look at one that has nothing to delete counts as an entry. Somebody else's key is left alone, and keeps no other from
-- being looked at.
local function sweep_by_age(index, bound, sweep)
  while not is_spent() do
    local name = call('ZRANGEBYSCORE', index, '-inf', '(' .. format('%.0f', bound), 'LIMIT', 0, 1)[1]
    if not name then
      return 0
    end
    local fine, oldest = pcall(sweep, sub(name, 2))
    if not fine then
      oldest = math.max(server_milliseconds(), bound)
    end
    if oldest == 'gone' then
      call('ZREM', index, name)
    elseif oldest then
      call('ZADD', index, format('%.0f', oldest), name)
    end
    spend(1, 0)
  end
  return 1
end
