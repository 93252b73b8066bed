-- Finds inboxes and conversations that exceed a limit that was set or lowered after their last write.
--
-- Input:
--   ARGV[1]  msgpack: how many messages an inbox and a conversation keep; names, as in x:age:i and x:age:c

-- @include "hidden"

local argument = cmsgpack.unpack(ARGV[1])
local bound = argument[1]

local function count_of(name)
  local of = sub(name, 2)
  if sub(name, 1, 1) == 'i' then
    return call('XLEN', prefix .. 'i:' .. of)
  end
  return tonumber(call('HGET', prefix .. 'h:' .. of, 't') or 0) - hidden(of).total
end

for at = 2, #argument do
  local fine, count = pcall(count_of, argument[at])
  if fine and count > bound then
    call('SADD', prefix .. 'x:full', argument[at])
  end
end
