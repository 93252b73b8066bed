-- What is listed of some conversations of a user.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  msgpack: of each its side and name, and the id of its newest message
-- Output:
--   for each that the user sees its side and name; the newest message's id; that message without its number ('' beyond
--   some bytes: see messages); how many messages of others are unread; 1 if the message has its line only, or 0
--
-- Flags: no-writes

-- @include "headOf"
-- @include "ids"
-- @include "standing"
-- @include "pageBytes"

local user, asked = ARGV[1], cmsgpack.unpack(ARGV[2])
local listed, bytes = {}, 0

-- The message with its line, if it was stored with one.
local function line_of(conversation, id)
  local line = call('HGET', prefix .. 'h:' .. conversation, 'b')
  if line and sub(line, 1, #id) == id then
    -- ('=': it was changed, and this is the whole message.)
    return sub(line, #id + 2), sub(line, #id + 1, #id + 1) == '=' and 0 or 1
  end
end

local function list(name, id)
  local conversation, side = sub(name, 2), tonumber(sub(name, 1, 1))
  local now = standing(conversation, side, user)
  if not now or (now.from ~= '-' and is_before(id, now.from)) then
    return
  end
  local rest, cut = line_of(conversation, id)
  if not rest then
    rest, cut = '', 0
    if bytes < PAGE_BYTES then
      local entry = call('XRANGE', prefix .. 'c:' .. conversation, id, id)[1]
      if not entry then
        return
      end
      bytes = bytes + #entry[2][2]
      if bytes <= PAGE_BYTES then
        rest = head_of(entry[2][2])
      end
    end
  end
  listed[#listed + 1] = {name, id, rest, now.others - now.read, cut}
end

for at = 1, #asked, 2 do
  list(asked[at], asked[at + 1])
end
return listed
