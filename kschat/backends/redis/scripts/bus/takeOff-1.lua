-- Removes some users from a dead daemon.
--
-- Input:
--   ARGV[1]  the daemon's id
--   ARGV[2]  how many users at most
-- Output:
--   1 if these were all, or 0; the daemon's last heartbeat, in milliseconds; the removed users who are on no daemon now

-- @include "publishOffline"

local id, most = ARGV[1], tonumber(ARGV[2])
local beat = call('ZSCORE', prefix .. 'dead', id)
if not beat then
  return {1, '0'}
end
local users = call('SPOP', prefix .. 'of:' .. id, most)
local nowhere = {}
for _, user in ipairs(users) do
  call('SREM', prefix .. 'on:' .. user, id)
  if publish_offline(user, beat) then
    nowhere[#nowhere + 1] = user
  end
end
if #users < most then
  call('ZREM', prefix .. 'dead', id)
end
return {#users < most and 1 or 0, beat, unpack(nowhere)}
