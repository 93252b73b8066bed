-- Returns a message of a conversation, as it is now.
--
-- Input:
--   ARGV[1]  the user who asks, for whom rooms are looked at of which the user is a member; '' for nobody
--   ARGV[2]  the conversation; '' if all of the user's are to be looked through
--   ARGV[3]  the id
--   ARGV[4]  how many conversations are looked through at most
-- Output:
--   the message without its number; '' if there is none
--
-- Flags: no-writes

-- @include "current"
-- @include "hidden"
-- @include "ids"
-- @include "isRoom"

local user, known, id = ARGV[1], ARGV[2], ARGV[3]

local function look(conversation)
  if user ~= '' and is_room(conversation) and call('HEXISTS', prefix .. 'm:' .. conversation, user) == 0 then
    return
  end
  local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
  if entry then
    local from = hidden(conversation).from
    return (from == '-' or not is_before(id, from)) and current(conversation, entry)
  end
end

if known ~= '' then
  return look(known) or ''
end
for _, name in ipairs(call('ZREVRANGE', prefix .. 'v:' .. user, 0, ARGV[4] - 1)) do
  local found = look(sub(name, 2))
  if found then
    return found
  end
end
return ''
