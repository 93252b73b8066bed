-- Returns how much is kept for hooks.
--
-- Output:
--   how many events there are; the oldest event, '' for none; how many messages were not logged since the last question

-- @include "base"

local first = call('ZRANGE', prefix .. 'x:hook:order', 0, 0)[1]
local row = first and call('HGET', prefix .. 'x:hook:events', first)
local lost = call('HGET', prefix .. 'x:hook', 'lost') or '0'
call('HDEL', prefix .. 'x:hook', 'lost')
return {call('HLEN', prefix .. 'x:hook:events'), row and cmsgpack.unpack(row)[4] or '', tonumber(lost)}
