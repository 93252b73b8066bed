-- @include "base"
-- A daemon lives no more. ``beat``: when it last said that it does.
local function bury(id, beat)
  call('ZREM', prefix .. 'daemons', id)
  call('HDEL', prefix .. 'wants', id)
  call('ZADD', prefix .. 'dead', beat, id)
end
