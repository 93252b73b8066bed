-- A page of an inbox. ARGV: the user, the offset after which, how many at the most. Returns the first offset that is kept,
-- the last that was given, the generation of offsets that this server is in, and one list: of each message its offset, its
-- id and the rest of it.

local key, after, limit = p .. 'i:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local found, from = {}, after > 0 and '(' .. id_of(after) or '-'
while #found < 3 * limit do
  local entries = call('XRANGE', key, from, '+', 'COUNT', limit)
  for _, entry in ipairs(entries) do
    local id = entry[2][2]
    local message = call('XRANGE', p .. 'c:' .. entry[2][4], id, id)[1]
    if message and #found < 3 * limit then
      found[#found + 1] = offset_of(entry[1])
      found[#found + 1] = id
      found[#found + 1] = message[2][2]
    end
  end
  if #entries < limit then
    break
  end
  from = '(' .. entries[#entries][1]
end
local last = last_of(key)
return {first_of(key, last), last, tonumber(call('HGET', p .. 'g', 'generation') or 0), found}
