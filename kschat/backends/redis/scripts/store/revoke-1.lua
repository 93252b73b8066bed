-- Keeps a revocation of tokens, or that one was lifted, with a greater number than all before.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the key of the revocation; its 'before' and 'until', in
--            milliseconds, and whether it is lifted (0 or 1); the time, in milliseconds, up to which 'until' has passed;
--            how many are kept at the most
-- Output:
--   'ok', 'full', 'late', 'again', or 'new' if the data is gone

-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, key, before, until_, lifted, passed, most = unpack(cmsgpack.unpack(ARGV[1]))
local kept, numbers, ends = prefix .. 't', prefix .. 't:n', prefix .. 't:u'
local MOST_PRUNED = 1000

local function prune()
  local old = call('ZRANGEBYSCORE', ends, '-inf', format('%.0f', passed), 'LIMIT', 0, MOST_PRUNED)
  for _, name in ipairs(old) do
    call('HDEL', kept, name)
    call('ZREM', numbers, name)
    call('ZREM', ends, name)
  end
end

local function keep()
  prune()
  local earlier = call('HGET', kept, key)
  if earlier then
    -- Revoking less does not lift the rest.
    local before_then, until_then, lifted_then = match(earlier, '^(%d+) (%d+) (%d)$')
    if lifted == 0 and lifted_then == '0' then
      before, until_ = math.max(before, tonumber(before_then)), math.max(until_, tonumber(until_then))
    end
  elseif call('HLEN', kept) >= most then
    return 'full'
  end
  local number = call('HINCRBY', prefix .. 'g', 'revoked', 1)
  call('HSET', kept, key, format('%.0f %.0f %d', before, until_, lifted))
  call('ZADD', numbers, number, key)
  call('ZADD', ends, format('%.0f', until_), key)
  return 'ok'
end

local global = call('HMGET', prefix .. 'g', 'epoch', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[2])
if refused then
  return refused
end
return global[1] and keep() or 'new'
