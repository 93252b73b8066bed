-- Returns who of many users blocks another, or is blocked.
--
-- Input:
--   ARGV[1]  msgpack: the user; the others
-- Output:
--   of each other, in their order: 1 if the user blocks it, and 2 if it blocks the user, added
--
-- Flags: no-writes

-- @include "base"

local user, peers = unpack(cmsgpack.unpack(ARGV[1]))
local any = tonumber(call('HGET', prefix .. 'g', 'blocks') or 0) > 0
local found = {}
for at, peer in ipairs(peers) do
  found[at] = any
      and call('SISMEMBER', prefix .. 'b:' .. user, peer) + 2 * call('SISMEMBER', prefix .. 'b:' .. peer, user)
    or 0
end
return found
