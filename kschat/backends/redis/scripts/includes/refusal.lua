-- Why a script that writes must do nothing: 'late' or 'again'; nil if it may go on.
--
-- 'late' after the deadline. 'again' if an earlier batch of the same writer was too much for one call: what the writer sent
-- behind it in the same turn is sent again, behind the parts of that batch. ``held`` is the turn that such a batch left.
local function refusal(now, deadline, turn, held)
  if now > deadline then
    return 'late'
  end
  if held and tonumber(held) >= turn then
    return 'again'
  end
end
