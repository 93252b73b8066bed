-- Keep cursors and times. ARGV[1] is packed: see ``refused``; then the epoch that the cursors are of, a list of users and
-- cursors, a list of users and times. Returns 'ok', 'late', 'again' or 'new'.

local b = cmsgpack.unpack(ARGV[1])
local no = refused(server_ms(), b)
if no then
  return no
end
if call('HGET', p .. 'g', 'epoch') ~= b[4] then
  return 'new'
end
local cursors, seen = b[5], b[6]

local function rise(user, cursor)
  local inbox, key = p .. 'i:' .. user, p .. 'u:' .. user
  local id = id_of(cursor)
  if cursor > 0 and not call('XRANGE', inbox, id, id)[1] then
    cursor = math.min(cursor, last_of(inbox))
  end
  if cursor > tonumber(call('HGET', key, 'c') or 0) then
    call('HSET', key, 'c', format('%.0f', cursor))
  end
end

-- A key that is somebody else's keeps no other user's cursor from being kept.
for at = 1, #cursors, 2 do
  pcall(rise, cursors[at], cursors[at + 1])
end
local function saw(user, time)
  local key = p .. 'u:' .. user
  local before = call('HGET', key, 's')
  if not before then
    -- Also who was never written to is forgotten one day.
    call('ZADD', p .. 'x:age:i', 'NX', format('%.0f', time), 'i' .. user)
  end
  if time > tonumber(before or -1) then
    call('HSET', key, 's', format('%.0f', time))
  end
end

for at = 1, #seen, 2 do
  pcall(saw, seen[at], seen[at + 1])
end
return 'ok'
