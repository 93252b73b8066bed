  -- For hooks.
  pcall_redis('XADD', prefix .. 'x:hook:joins', '*', 'r', room, 'u', user)
  local dropped = pcall_redis('XTRIM', prefix .. 'x:hook:joins', 'MAXLEN', '~', 100000)
  if type(dropped) == 'number' and dropped > 0 then
    pcall_redis('HINCRBY', prefix .. 'x:hook', 'lost_joins', dropped)
  end
