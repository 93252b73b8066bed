-- Returns how much is kept for hooks.
--
-- Output:
--   how many events there are; the oldest event, '' for none; how many messages were not logged since the last question,
--   how many joins were dropped, how many users were not marked

-- @include "base"

local first = call('ZRANGE', prefix .. 'x:hook:order', 0, 0)[1]
local row = first and call('HGET', prefix .. 'x:hook:events', first)
local events = call('HLEN', prefix .. 'x:hook:events')
local answer = {events, row and cmsgpack.unpack(row)[4] or ''}
for _, what in ipairs({'lost', 'lost_joins', 'lost_marks'}) do
  table.insert(answer, tonumber(call('HGET', prefix .. 'x:hook', what) or '0'))
  call('HDEL', prefix .. 'x:hook', what)
end
return answer
