-- Erases some of what is kept of a user: memberships, conversations of two, the inbox; in the end all keys of the user.
--
-- Input:
--   ARGV[1]  msgpack: deadline, writer, turn (see refusal); the user; how many entries and how many bytes of messages this
--            may touch, and for how many milliseconds
-- Output:
--   1 if there may be more to do, or 0, and how many messages were deleted; 'late', 'again', or 'new' if the data is gone

-- @include "eraseMessage"
-- @include "facts"
-- @include "forgetInbox"
-- @include "forgetSubscription"
-- @include "ownKey"
-- @include "refusal"
-- @include "release"
-- @include "serverMilliseconds"
-- @include "usersOf"

local deadline, writer, turn, user, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))
local list, erased = prefix .. 'v:' .. user, 0
local generation

-- Take a message out of the inbox of another user. If it was the newest there, an entry of nothing takes the next offset,
-- since the last entry tells how far the inbox goes.
local function take_from(recipient, place, id)
  local key = prefix .. 'i:' .. recipient
  local newest = call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if call('XDEL', key, place) == 1 and newest[1] == place and call('XLEN', key) > 0 then
    call('XADD', key, generation .. '-*', 'n', id, 'c', '#')
  end
end

local function leave(room)
  call('HDEL', prefix .. 'm:' .. room, user)
  call('HDEL', prefix .. 'j:' .. room, user)
  call('UNLINK', own_key(room, user))
  call('ZREM', list, '0' .. room)
  spend(1, 0)
end

local function forget_conversation(conversation, one, other)
  call('ZREM', prefix .. 'v:' .. one, '1' .. conversation)
  call('ZREM', prefix .. 'v:' .. other, '2' .. conversation)
  call('ZREM', prefix .. 'x:age:c', 'c' .. conversation)
  call('SREM', prefix .. 'x:full', 'c' .. conversation)
  call('SREM', prefix .. 'x:changed', conversation)
  for _, kind in ipairs({'c:', 'h:', 'n:', 'w:', 'y:', 'z:'}) do
    call('UNLINK', prefix .. kind .. conversation)
  end
  spend(1, 0)
end

-- Take the updates of a conversation out of the inbox of the other user: nothing tells where they are. Whether all is
-- done; where to go on is kept with the conversation.
local function take_updates(conversation, other)
  local counts, inbox = prefix .. 'h:' .. conversation, prefix .. 'i:' .. other
  if other == user or call('HEXISTS', counts, 'u') == 0 then
    return true
  end
  local from = call('HGET', counts, 'x') or '-'
  while not is_spent() do
    local some = call('XRANGE', inbox, from, '+', 'COUNT', 50)
    if #some == 0 then
      return true
    end
    for _, entry in ipairs(some) do
      if entry[2][4] == conversation then
        take_from(other, entry[1], entry[2][2])
      end
      from = '(' .. entry[1]
    end
    spend(#some, 0)
  end
  call('HSET', counts, 'x', from)
  return false
end

local function erase_conversation(conversation)
  local one, other = users_of(conversation)
  while not is_spent() do
    -- One by one, since their sizes are not known.
    local entry = call('XRANGE', prefix .. 'c:' .. conversation, '-', '+', 'COUNT', 1)[1]
    if not entry then
      if take_updates(conversation, one == user and other or one) then
        forget_conversation(conversation, one, other)
      end
      return
    end
    local message = facts(entry)
    local recipient = message.sender == '1' and other or one
    if recipient ~= user then
      take_from(recipient, message.place, entry[1])
    end
    erase_message(conversation, entry)
    erased = erased + 1
  end
end

-- What is left in the inbox are messages of others to rooms.
local function empty_inbox()
  local key = prefix .. 'i:' .. user
  while not is_spent() do
    local entry = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    if not entry then
      return
    end
    release(entry[2][4], entry[2][2], hidden(entry[2][4]).from)
    call('XDEL', key, entry[1])
    spend(1, 0)
  end
end

local function forget_user()
  local blocked = call('SCARD', prefix .. 'b:' .. user)
  if blocked > 0 then
    call('HINCRBY', prefix .. 'g', 'blocks', -blocked)
  end
  for _, endpoint in ipairs(call('HKEYS', prefix .. 'p:' .. user)) do
    forget_subscription(user, endpoint)
  end
  forget_inbox(user)
  call('ZREM', prefix .. 'x:age:i', 'i' .. user)
  call('SREM', prefix .. 'x:full', 'i' .. user)
  for _, kind in ipairs({'v:', 'd:', 'e:', 'b:', 'q:'}) do
    call('UNLINK', prefix .. kind .. user)
  end
end

local global = call('HMGET', prefix .. 'g', 'epoch', 'generation', 'w:' .. writer)
local refused = refusal(server_milliseconds(), deadline, turn, global[3])
if refused then
  return refused
end
if not global[1] then
  return 'new'
end
generation = global[2]
begin_step(entries, bytes, milliseconds)
while not is_spent() do
  local name = call('ZRANGE', list, 0, 0)[1]
  if not name then
    break
  end
  if sub(name, 1, 1) == '0' then
    leave(sub(name, 2))
  else
    erase_conversation(sub(name, 2))
  end
end
empty_inbox()
if is_spent() then
  return {1, erased}
end
forget_user()
return {0, erased}
