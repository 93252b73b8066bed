-- Deletes some of the messages that exceed the limits of inboxes and conversations.
--
-- A message is deleted when neither its conversation nor an inbox holds it. A message that exceeds its conversation's
-- limit is therefore hidden there first; the last holder to release it deletes it.
--
-- Input:
--   ARGV[1]  msgpack: how many messages an inbox and a conversation keep; how many entries and how many bytes of messages
--            this may touch, and for how many milliseconds
-- Output:
--   1 if there may be more to do, or 0

-- @include "hideOldest"
-- @include "release"
-- @include "removeMessage"
-- @include "trimInbox"
-- @include "usersOf"

local bound, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))

-- The oldest ids that the inboxes of a conversation's two users hold, by side.
local function oldest_held(conversation)
  local oldest = {}
  for side, user in ipairs({users_of(conversation)}) do
    local first = call('XRANGE', prefix .. 'i:' .. user, '-', '+', 'COUNT', 1)[1]
    oldest[side] = first and first[1]
  end
  return oldest
end

-- Whether an inbox holds a message.
local function is_held(conversation, entry, oldest)
  if is_room(conversation) then
    return tonumber(call('HGET', prefix .. 'n:' .. conversation, entry[1]) or 0) > 0
  end
  local message = facts(entry)
  local first = oldest[message.sender == '1' and 2 or 1]
  return first and not is_before(message.place, first)
end

-- Both return whether there may be more to do.

local function sweep_conversation(conversation)
  local gone = hidden(conversation)
  -- By the numbers of the messages, in which erased ones have left holes.
  local beyond = tonumber(call('HGET', prefix .. 'h:' .. conversation, 't') or 0) - bound
  if beyond <= gone.total then
    return false
  end
  -- It stays the same while this conversation is looked at.
  local oldest = not is_room(conversation) and oldest_held(conversation)
  local last = hide_oldest(conversation, gone.from, '+', beyond, function(entry)
    if not is_held(conversation, entry, oldest) then
      remove_message(conversation, entry)
    end
  end)
  return (last or 0) < beyond and is_spent()
end

local function sweep_inbox(user)
  local key = prefix .. 'i:' .. user
  local excess = call('XLEN', key) - bound
  local begins, count, last = {}, 0, nil
  while count < excess and not is_spent() do
    local from = last and '(' .. last[1] or '-'
    local some = call('XRANGE', key, from, '+', 'COUNT', math.min(excess - count, entries_left, 100))
    if #some == 0 then
      break
    end
    for _, entry in ipairs(some) do
      local conversation = entry[2][4]
      begins[conversation] = begins[conversation] or hidden(conversation).from
      release(conversation, entry[2][2], begins[conversation])
      spend(1, 0)
      count, last = count + 1, entry
      if is_spent() then
        break
      end
    end
  end
  if last then
    trim_inbox(key, last)
  end
  return count < excess and is_spent()
end

begin_step(entries, bytes, milliseconds)
while not is_spent() do
  local name = call('SPOP', prefix .. 'x:full')
  if not name then
    return 0
  end
  -- Somebody else's key is left alone, and keeps no other from being looked at.
  local fine, more = pcall(sub(name, 1, 1) == 'i' and sweep_inbox or sweep_conversation, sub(name, 2))
  if fine and more then
    call('SADD', prefix .. 'x:full', name)
  end
  spend(1, 0)
end
return 1
