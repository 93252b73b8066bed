-- The log for hooks: of each message that was kept, its id, the rest of its mid, its sender, its recipient, and its offset;
-- 0 for one to a room, whose packed places follow in a field of their own. No Send fails because this can't be written: who
-- reads it says what is wrong.
do
  local LOG, MOST_LOGGED = prefix .. 'x:hook:log', 20000
  local described, logged, filled, fields = {}, {}, 0, {}
  for nth = 6, #answer do
    described[answer[nth][1]] = answer[nth]
  end
  for nth = 1, which do
    local at, id, place, about = BEGIN + (nth - 1) * FIELDS, nil, offsets[nth], described[nth]
    if not about then
      id = format('%.0f-%.0f', batch[at + 5], batch[at + 6])
    elseif about[2] == 'n' then
      id, place = about[3], about[4]
    elseif about[2] == 'p' then
      id, place = about[3], 0
      fields[#fields + 1], fields[#fields + 2] = 'p', about[4]
    end
    if id then
      local _, suffix = cmsgpack.unpack_limit(batch[at + 7], 1, 1)
      logged[filled + 1], logged[filled + 2], logged[filled + 3] = id, suffix, batch[at]
      logged[filled + 4], logged[filled + 5] = batch[at + 1], place
      filled = filled + 5
    end
  end
  if filled > 0 then
    local length = pcall_redis('XLEN', LOG)
    if type(length) == 'number' and length >= MOST_LOGGED then
      pcall_redis('HINCRBY', prefix .. 'x:hook', 'lost', filled / 5)
    else
      pcall_redis('XADD', LOG, '*', 'm', cmsgpack.pack(logged), unpack(fields))
    end
  end
end
