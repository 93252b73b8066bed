-- Returns a part of a conversation as it is kept, oldest first, limited in bytes; also what is hidden.
--
-- Input:
--   ARGV[1]  the conversation
--   ARGV[2]  the id after which it begins; '' for the beginning
--   ARGV[3]  how many messages at most
--   ARGV[4]  how many bytes of them at most, beyond the first
--   ARGV[5]  1 if the messages are returned, 0 for their facts alone
-- Output:
--   1 if there are more, or 0; of each message its id, the message without its number ('' if it is not asked for), its facts, and its packed places
--   ('' if they are not kept)
--
-- Flags: no-writes

-- @include "current"

local conversation, limit, most_bytes = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local key, from = prefix .. 'c:' .. conversation, ARGV[2] == '' and '-' or '(' .. ARGV[2]
local page, count, bytes, more = {}, 0, 0, 0

local function places_of(fields)
  for at = 5, #fields, 2 do
    if fields[at] == 'p' then
      return fields[at + 1]
    end
  end
  return ''
end

while true do
  -- One by one, since their sizes are not known.
  local entry = call('XRANGE', key, from, '+', 'COUNT', 1)[1]
  if not entry then
    break
  end
  local rest = ARGV[5] == '1' and current(conversation, entry) or ''
  bytes = bytes + #rest
  if count >= limit or (count > 0 and bytes > most_bytes) then
    more = 1
    break
  end
  count = count + 1
  page[count] = {entry[1], rest, entry[2][4], places_of(entry[2])}
  from = '(' .. entry[1]
end
return {more, page}
