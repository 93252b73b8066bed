  -- For hooks.
  pcall_redis('XADD', prefix .. 'x:hook:joins', 'MAXLEN', '~', 100000, '*', 'r', room, 'u', user)
