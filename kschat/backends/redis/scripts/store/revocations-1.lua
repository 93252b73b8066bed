-- Returns revocations of tokens by rising number.
--
-- Input:
--   ARGV[1]  the number after which they begin
--   ARGV[2]  how many to return at the most
-- Output:
--   of each: its number, its key, and its 'before', 'until' and 'lifted' in one text
--
-- Flags: no-writes

-- @include "base"

local found = call('ZRANGEBYSCORE', prefix .. 't:n', '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local listed = {}
for at = 1, #found, 2 do
  local key = found[at]
  listed[#listed + 1] = {tonumber(found[at + 1]), key, call('HGET', prefix .. 't', key) or '0 0 1'}
end
return listed
