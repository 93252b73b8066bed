-- Where an inbox stands. ARGV[1] is the user. Returns the cursor, the first offset that is kept, the last that was given.

local key = p .. 'i:' .. ARGV[1]
local last = last_of(key)
return {tonumber(call('HGET', p .. 'u:' .. ARGV[1], 'c') or 0), first_of(key, last), last}
