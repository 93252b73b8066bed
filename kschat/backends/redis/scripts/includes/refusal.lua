-- Why a script that writes must do nothing: 'late' or 'again'; nil if it may go on.
--
-- 'late' after the deadline. 'again' if an earlier batch of the same writer was too large for one call: the writer's later
-- calls of the same turn are sent again, after the parts of that batch. ``held`` is the turn recorded by such a batch.
local function refusal(now, deadline, turn, held)
  if now > deadline then
    return 'late'
  end
  if held and tonumber(held) >= turn then
    return 'again'
  end
end
