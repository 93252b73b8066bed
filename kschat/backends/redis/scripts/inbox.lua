-- Where an inbox stands. ARGV[1] is the user. Returns the cursor, the first offset that is kept, the last that was given.

local key = p .. 'i:' .. ARGV[1]
local cursor = tonumber(call('HGET', p .. 'u:' .. ARGV[1], 'c') or 0)
local last = last_of(key)
local from = '-'
while true do
  local entries = call('XRANGE', key, from, '+', 'COUNT', 10)
  for _, entry in ipairs(entries) do
    -- What is too old goes from conversations first, and soon from here.
    if call('XRANGE', p .. 'c:' .. entry[2][4], entry[2][2], entry[2][2])[1] then
      return {cursor, offset_of(entry[1]), last}
    end
  end
  if #entries < 10 then
    return {cursor, last + 1, last}
  end
  from = '(' .. entries[10][1]
end
