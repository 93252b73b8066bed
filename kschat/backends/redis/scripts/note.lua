-- Keep cursors and times. ARGV[1] is packed: the server's time at which it is too late, the epoch that the cursors are of,
-- a list of users and cursors, a list of users and times. Returns 'ok', 'late' or 'new'.

local b = cmsgpack.unpack(ARGV[1])
if server_ms() > b[1] then
  return 'late'
end
if call('HGET', p .. 'g', 'epoch') ~= b[2] then
  return 'new'
end
local cursors, seen = b[3], b[4]
for at = 1, #cursors, 2 do
  local inbox, key, cursor = p .. 'i:' .. cursors[at], p .. 'u:' .. cursors[at], cursors[at + 1]
  local id = id_of(cursor)
  if cursor > 0 and not call('XRANGE', inbox, id, id)[1] then
    cursor = math.min(cursor, last_of(inbox))
  end
  if cursor > tonumber(call('HGET', key, 'c') or 0) then
    call('HSET', key, 'c', format('%.0f', cursor))
  end
end
for at = 1, #seen, 2 do
  call('HSET', p .. 'u:' .. seen[at], 's', format('%.0f', seen[at + 1]))
end
return 'ok'
