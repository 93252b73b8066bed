-- Adds a user to another one's block list, or removes it.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); 'block' or 'unblock', whose list it is, the user, how many it
--            may have
-- Output:
--   1 if anything changed, or 0; 'full', 'late', 'again', or 'new' if the data is gone

-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, what, user, peer, most = unpack(cmsgpack.unpack(ARGV[1]))
local list, global_key = prefix .. 'b:' .. user, prefix .. 'g'

local function change()
  local changed
  if what == 'unblock' then
    changed = call('SREM', list, peer)
    if changed == 1 then
      call('HINCRBY', global_key, 'blocks', -1)
    end
    return changed
  end
  if call('SISMEMBER', list, peer) == 1 then
    return 0
  end
  if call('SCARD', list) >= most then
    return 'full'
  end
  call('SADD', list, peer)
  call('HINCRBY', global_key, 'blocks', 1)
  return 1
end

local global = call('HMGET', global_key, 'epoch', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[2])
if refused then
  return refused
end
return global[1] and change() or 'new'
