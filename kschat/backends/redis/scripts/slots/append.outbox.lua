-- The log for hooks: of each message that was kept, its number (milliseconds and count, or its id and 0), the rest of its mid,
-- its sender, its recipient, and its offset; 0 for one to a room, whose packed places follow in a field of their own. No Send
-- fails because this can't be written: who reads it says what is wrong.
do
  local LOG, MOST_LOGGED = prefix .. 'x:hook:log', 20000
  local described, logged, filled, fields = {}, {}, 0, {}
  for nth = 6, #answer do
    described[answer[nth][1]] = answer[nth]
  end
  for nth = 1, which do
    local at, about = BEGIN + (nth - 1) * FIELDS, described[nth]
    local first, count, place = batch[at + 5], batch[at + 6], offsets[nth]
    if about then
      first, count, place = about[3], 0, 0
      if about[2] == 'n' then
        place = about[4]
      elseif about[2] == 'p' then
        fields[#fields + 1], fields[#fields + 2] = 'p', about[4]
      else
        first = nil
      end
    end
    if first then
      -- The message is an array whose first is the rest of the mid, of eight characters unless another server made it.
      local rest, suffix = batch[at + 7], nil
      if string.byte(rest, 2) == 168 then
        suffix = sub(rest, 3, 10)
      else
        suffix = select(2, cmsgpack.unpack_limit(rest, 1, 1))
      end
      logged[filled + 1], logged[filled + 2], logged[filled + 3] = first, count, suffix
      logged[filled + 4], logged[filled + 5], logged[filled + 6] = batch[at], batch[at + 1], place
      filled = filled + 6
    end
  end
  if filled > 0 then
    local length = pcall_redis('XLEN', LOG)
    if type(length) == 'number' and length >= MOST_LOGGED then
      pcall_redis('HINCRBY', prefix .. 'x:hook', 'lost', filled / 6)
    else
      pcall_redis('XADD', LOG, '*', 'm', cmsgpack.pack(logged), unpack(fields))
    end
  end
end
