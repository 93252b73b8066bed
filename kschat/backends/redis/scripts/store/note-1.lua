-- Stores cursors and last-seen times. Neither ever decreases.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the epoch of the cursors; a list of users and cursors; a list of
--            users and times, in milliseconds
-- Output:
--   'ok', 'late', 'again', or 'new' if the data was replaced

-- @include "inboxEnd"
-- @include "refusal"
-- @include "serverMilliseconds"

local deadline, writer, turn, epoch, cursors, seen = unpack(cmsgpack.unpack(ARGV[1]))

local function raise_cursor(user, cursor)
  local inbox, key = prefix .. 'i:' .. user, prefix .. 'u:' .. user
  local id = id_of(cursor)
  if cursor > 0 and not call('XRANGE', inbox, id, id)[1] then
    cursor = math.min(cursor, inbox_end(inbox))
  end
  if cursor > tonumber(call('HGET', key, 'c') or 0) then
    call('HSET', key, 'c', format('%.0f', cursor))
  end
end

local function raise_seen(user, time)
  local key = prefix .. 'u:' .. user
  local before = call('HGET', key, 's')
  if not before then
    -- Users to whom nobody wrote are forgotten as well, after ``retention_days``.
    call('ZADD', prefix .. 'x:age:i', 'NX', format('%.0f', time), 'i' .. user)
  end
  if time > tonumber(before or -1) then
    call('HSET', key, 's', format('%.0f', time))
  end
end

-- Somebody else's key in the place of one user's keeps no other user's from being written.
local function for_each(pairs_of, raise)
  for at = 1, #pairs_of, 2 do
    pcall(raise, pairs_of[at], pairs_of[at + 1])
  end
end

local global = call('HMGET', prefix .. 'g', 'epoch', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[2])
if refused then
  return refused
end
if global[1] ~= epoch then
  return 'new'
end
for_each(cursors, raise_cursor)
for_each(seen, raise_seen)
return 'ok'
