-- Make somebody a member of a room (with its #), or none. ARGV[1] is packed: see ``refused``; then 'join' or 'leave', the
-- room, the user, how many members it may have. Returns whether anything changed (1 or 0), 'full', 'late', 'again' or 'new'.

local b = cmsgpack.unpack(ARGV[1])
local what, room, user, most = unpack(b, 4)
local now = server_ms()
local no = refused(now, b)
if no then
  return no
end
local key, list = p .. 'm:' .. room, p .. 'v:' .. user
if what == 'leave' then
  call('ZREM', list, '0' .. room)
  call('UNLINK', own_key(room, user))
  return call('HDEL', key, user)
end
if call('HGET', p .. 'g', 'epoch') == false then
  return 'new'
end
if call('HEXISTS', key, user) == 1 then
  return 0
end
if call('HLEN', key) >= most then
  return 'full'
end
-- What was written before counts as read.
local total = call('HGET', p .. 'h:' .. room, 't') or 0
call('ZADD', list, now, '0' .. room)
return call('HSET', key, user, '0 ' .. total)
