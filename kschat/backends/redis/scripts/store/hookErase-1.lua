-- Deletes what is kept for hooks of a user, and events that name the user: some of it.
--
-- Input:
--   ARGV[1]  msgpack: the user; the last event that was looked at (0 at first); how many events this looks at
-- Output:
--   the last event that was looked at; 0 at the end

-- @include "dropEvent"

local user, after, count = unpack(cmsgpack.unpack(ARGV[1]))

local function names_user(event)
  if event[4] == user then
    return true
  end
  for _, other in ipairs(event[6]) do
    if other == user then
      return true
    end
  end
  return false
end

if after == 0 then
  call('ZREM', prefix .. 'x:hook:marks', user)
  call('SREM', prefix .. 'x:hook:connected', user)
  call('ZREM', prefix .. 'x:hook:waiting', user)
  call('HDEL', prefix .. 'x:hook:told', user)
end
local numbers = call('ZRANGEBYSCORE', prefix .. 'x:hook:order', '(' .. format('%.0f', after), '+inf', 'LIMIT', 0, count)
for _, number in ipairs(numbers) do
  local row = call('HGET', prefix .. 'x:hook:events', number)
  if row and names_user(cmsgpack.unpack(cmsgpack.unpack(row)[4])) then
    drop_event(number)
  end
end
return tonumber(numbers[#numbers] or 0)
