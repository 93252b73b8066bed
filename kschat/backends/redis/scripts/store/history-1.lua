-- Returns a page of a conversation, newest first, limited in bytes.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  the conversation
--   ARGV[3]  1 if it is a room
--   ARGV[4]  the id before which it begins; '' for the end
--   ARGV[5]  how many messages at most
--   ARGV[6]  the user's side of it (1 or 2; 0: a room, or the user's own notes)
--   ARGV[7]  the other user
-- Output:
--   1 if there are older ones, or 0; a list of each message's id, and the message without its number; the id of the newest
--   of them that the user wrote and the other one has read; and of the newest that the other one got ('' for none)
--
-- Flags: no-writes

-- @include "current"
-- @include "facts"
-- @include "hidden"
-- @include "offsets"
-- @include "pageBytes"

local conversation, limit = ARGV[2], tonumber(ARGV[5])
if ARGV[3] == '1' and call('HEXISTS', prefix .. 'm:' .. conversation, ARGV[1]) == 0 then
  return {0, {}, '', ''}
end
local key, from = prefix .. 'c:' .. conversation, hidden(conversation).from
local upto = ARGV[4] == '' and '+' or '(' .. ARGV[4]
local page, count, bytes = {}, 0, 0
local side, read, delivered = ARGV[6], '', ''
local read_count, cursor = 0, 0
if side ~= '0' then
  read_count = tonumber(call('HGET', prefix .. 'h:' .. conversation, 'r' .. 3 - side) or 0)
  cursor = tonumber(call('HGET', prefix .. 'u:' .. ARGV[7], 'c') or 0)
end

local function look(entry)
  local message = facts(entry)
  if message.sender == side then
    if delivered == '' and offset_of(message.place) <= cursor then
      delivered = entry[1]
    end
    if message.own <= read_count then
      read = entry[1]
    end
  end
end

while true do
  -- One by one, since their sizes are not known.
  local entry = call('XREVRANGE', key, upto, from, 'COUNT', 1)[1]
  if not entry then
    return {0, page, read, delivered}
  end
  local rest = current(conversation, entry)
  bytes = bytes + #rest
  if count >= limit or (count > 0 and bytes > PAGE_BYTES) then
    return {1, page, read, delivered}
  end
  if side ~= '0' and read == '' then
    look(entry)
  end
  page[2 * count + 1], page[2 * count + 2] = entry[1], rest
  count = count + 1
  upto = '(' .. entry[1]
end
