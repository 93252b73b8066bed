-- A page of an inbox. ARGV: the user, the offset after which, how many at the most. Returns the first offset that is kept,
-- the last that was given, the generation of offsets that this server is in, and one list: of each message its offset, its
-- id and the rest of it. The page is cut at some bytes.

local key, after, limit = p .. 'i:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found, filled, bytes = {}, 0, 0
local from = after > 0 and '(' .. id_of(after) or '-'
while filled < 3 * limit and bytes < PAGE_BYTES do
  local entries = call('XRANGE', key, from, '+', 'COUNT', limit)
  local before = filled
  for _, entry in ipairs(entries) do
    local id = entry[2][2]
    local message = call('XRANGE', p .. 'c:' .. entry[2][4], id, id)[1]
    if message then
      local rest = message[2][2]
      found[filled + 1], found[filled + 2], found[filled + 3] = offset_of(entry[1]), id, rest
      filled, bytes = filled + 3, bytes + #rest
      if filled >= 3 * limit or bytes >= PAGE_BYTES then
        break
      end
    end
  end
  if #entries < limit then
    break
  end
  from = '(' .. entries[#entries][1]
  if filled == before then
    -- None of these is there any more: go on where all are.
    local entry = first_since(key, swept_until(), last_of(key))
    if not entry then
      break
    end
    local offset = offset_of(entry[1])
    if offset > offset_of(entries[#entries][1]) then
      from = entry[1]
    end
  end
end
local last = last_of(key)
return {first_of(key, last), last, tonumber(call('HGET', p .. 'g', 'generation') or 0), found}
