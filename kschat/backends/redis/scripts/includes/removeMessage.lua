-- @include "isRoom"
-- Deletes a message and its cid.
local function remove_message(conversation, entry)
  for at = 5, #entry[2], 2 do
    if entry[2][at] == 'd' then
      local length, names = match(entry[2][at + 1], '^(%d+) (.*)$')
      local sender, cid = sub(names, 1, length), sub(names, length + 1)
      call('HDEL', prefix .. 'd:' .. sender, cid)
      call('HDEL', prefix .. 'e:' .. sender, cid)
    end
  end
  if is_room(conversation) then
    call('HDEL', prefix .. 'n:' .. conversation, entry[1])
  end
  call('XDEL', prefix .. 'c:' .. conversation, entry[1])
  if call('HDEL', prefix .. 'w:' .. conversation, entry[1]) == 1 or call('EXISTS', prefix .. 'y:' .. conversation) == 1 then
    -- It is copied once more (rewrite).
    call('UNLINK', prefix .. 'y:' .. conversation)
  end
end
