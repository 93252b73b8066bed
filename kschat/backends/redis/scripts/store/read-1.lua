-- Returns a page of an inbox, limited in bytes.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  the offset after which it begins
--   ARGV[3]  how many messages at most
-- Output:
--   the first offset that is kept; the last that was assigned; this server's generation of offsets; and a
--   list of each message's offset, id, and the message without its number; of an update a list of it without its number,
--   and of the message whose text it is read with, as that is now ('' if there is none)
--
-- Flags: no-writes

-- @include "current"
-- @include "inboxEnd"
-- @include "inboxStart"
-- @include "pageBytes"

local key, after, limit = prefix .. 'i:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local page, count, bytes, full = {}, 0, 0, false

-- Take the messages of some entries into the page; whether there was any.
local function take(entries)
  local before = count
  for _, entry in ipairs(entries) do
    local id = entry[2][2]
    local conversation, is_update = entry[2][4], entry[2][5] == 'u'
    if is_update then
      id = entry[2][8]
    end
    local message = id ~= '' and call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
    if message or is_update then
      local rest = message and current(conversation, message) or ''
      bytes = bytes + #rest
      if is_update then
        id, rest = entry[2][2], {entry[2][6], rest}
      end
      if count > 0 and bytes > PAGE_BYTES then
        full = true
        break
      end
      page[3 * count + 1], page[3 * count + 2], page[3 * count + 3] = offset_of(entry[1]), id, rest
      count = count + 1
      if count >= limit then
        full = true
        break
      end
    end
  end
  return count > before
end

local function fill(last)
  local from = after > 0 and '(' .. id_of(after) or '-'
  while not full do
    local entries = call('XRANGE', key, from, '+', 'COUNT', limit)
    local found = take(entries)
    if #entries < limit then
      return
    end
    local newest = entries[#entries][1]
    from = '(' .. newest
    if not found then
      -- None of these messages is kept any more: go on where all are.
      local entry = first_since(key, swept_until(), last)
      if not entry then
        return
      end
      if offset_of(entry[1]) > offset_of(newest) then
        from = entry[1]
      end
    end
  end
end

local last = inbox_end(key)
fill(last)
return {inbox_start(key, last), last, tonumber(call('HGET', prefix .. 'g', 'generation') or 0), page}
