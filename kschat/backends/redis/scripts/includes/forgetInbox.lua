-- @include "inboxEnd"
-- Nothing is kept of an inbox. New inboxes begin beyond the offsets that this one gave, since its user may come back.
local function forget_inbox(user)
  local key = prefix .. 'i:' .. user
  local last = inbox_end(key)
  if last > 0 then
    local global = call('HMGET', prefix .. 'g', 'generation', 'floor')
    local given = last - (tonumber(global[1]) - 1) * GENERATION
    if given > tonumber(global[2] or 0) then
      call('HSET', prefix .. 'g', 'floor', format('%.0f', given))
    end
  end
  call('DEL', key, prefix .. 'u:' .. user)
end
