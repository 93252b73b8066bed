-- Deletes some of the expired messages in inboxes, and inboxes that have been empty and unused for as long. Run it until
-- it has nothing to do before sweepConversations, so that no inbox refers to a deleted message.
--
-- Input:
--   ARGV[1]  msgpack: the id before which messages go; how many entries and how many bytes of messages
--            this may touch, and for how many milliseconds
-- Output:
--   1 if there may be more to do, or 0

-- @include "forgetInbox"
-- @include "sweepByAge"
-- @include "trimInbox"

local bound, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))

-- An inbox has been empty for as long as messages are kept. If its user was not seen for as long either, nothing of it
-- is kept.
local function forget_user(user)
  local seen = tonumber(call('HGET', prefix .. 'u:' .. user, 's') or 0)
  if seen >= time_of(bound) then
    return seen
  end
  forget_inbox(user)
  return 'gone'
end

local function sweep_inbox(user)
  local key, most, old = prefix .. 'i:' .. user, math.min(entries_left, 100), nil
  local oldest = call('XRANGE', key, '-', '+', 'COUNT', most)
  for _, entry in ipairs(oldest) do
    spend(1, 0)
    if not is_before(entry[2][2], bound) then
      if old then
        trim_inbox(key, old)
      end
      return time_of(entry[2][2])
    end
    old = entry
  end
  if not old then
    return forget_user(user)
  end
  trim_inbox(key, old)
  if #oldest < most then
    return empty_until(bound)
  end
end

begin_step(entries, bytes, milliseconds)
return sweep_by_age(prefix .. 'x:age:i', bound, sweep_inbox)
