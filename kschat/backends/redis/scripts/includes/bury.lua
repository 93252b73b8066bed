-- @include "base"
-- Marks a daemon as dead. ``beat``: its last heartbeat.
local function bury(id, beat)
  call('ZREM', prefix .. 'daemons', id)
  call('HDEL', prefix .. 'wants', id)
  call('ZADD', prefix .. 'dead', beat, id)
end
