-- Deletes the oldest events of hooks, if they were made before a time.
--
-- Input:
--   ARGV[1]  the time, in milliseconds
--   ARGV[2]  how many at the most
-- Output:
--   how many were deleted

-- @include "dropEvent"

local deleted = 0
for _, number in ipairs(call('ZRANGE', prefix .. 'x:hook:order', 0, ARGV[2] - 1)) do
  local row = call('HGET', prefix .. 'x:hook:events', number)
  -- An event begins with the time when it was made.
  if row and cmsgpack.unpack(cmsgpack.unpack(row)[4])[1] >= tonumber(ARGV[1]) then
    break
  end
  drop_event(number)
  deleted = deleted + 1
end
return deleted
