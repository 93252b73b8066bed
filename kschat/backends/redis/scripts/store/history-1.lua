-- Returns a page of a conversation, newest first, limited in bytes.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  the conversation
--   ARGV[3]  1 if it is a room
--   ARGV[4]  the id before which it begins; '' for the end
--   ARGV[5]  how many messages at most
-- Output:
--   1 if there are older ones, or 0; a list of each message's id, and the message without its number
--
-- Flags: no-writes

-- @include "current"
-- @include "hidden"
-- @include "pageBytes"

local conversation, limit = ARGV[2], tonumber(ARGV[5])
if ARGV[3] == '1' and call('HEXISTS', prefix .. 'm:' .. conversation, ARGV[1]) == 0 then
  return {0, {}}
end
local key, from = prefix .. 'c:' .. conversation, hidden(conversation).from
local upto = ARGV[4] == '' and '+' or '(' .. ARGV[4]
local page, count, bytes = {}, 0, 0
while true do
  -- One by one, since nobody knows how large they are.
  local entry = call('XREVRANGE', key, upto, from, 'COUNT', 1)[1]
  if not entry then
    return {0, page}
  end
  local rest = current(conversation, entry)
  bytes = bytes + #rest
  if count >= limit or (count > 0 and bytes > PAGE_BYTES) then
    return {1, page}
  end
  page[2 * count + 1], page[2 * count + 2] = entry[1], rest
  count = count + 1
  upto = '(' .. entry[1]
end
