-- Forgets a push subscription of a user, or all of them.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the user; the endpoint, or '' for all
-- Output:
--   how many were forgotten; 'late', 'again', or 'new' if the data is gone

-- @include "forgetSubscription"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, user, endpoint = unpack(cmsgpack.unpack(ARGV[1]))

local function forget()
  local forgotten = 0
  for _, one in ipairs(endpoint == '' and call('HKEYS', prefix .. 'p:' .. user) or {endpoint}) do
    forgotten = forgotten + forget_subscription(user, one)
  end
  return forgotten
end

local global = call('HMGET', prefix .. 'g', 'epoch', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[2])
if refused then
  return refused
end
return global[1] and forget() or 'new'
