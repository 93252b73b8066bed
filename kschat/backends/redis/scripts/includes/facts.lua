-- @include "base"
-- The facts of a message in a conversation's stream. total: its number in the conversation; own: its number among its
-- sender's messages there; place: its id in the recipient's inbox ('-' in a room); sender: 1 or 2, the side of two, or
-- the member of a room.
local function facts(entry)
  local total, own, place, sender = match(entry[2][4], '^(%d+) (%d+) (%S+) (.*)$')
  return {total = tonumber(total), own = tonumber(own), place = place, sender = sender}
end
