-- Of a conversation all of others' messages up to one are read. ARGV[1] is packed: see ``refused``; then the user, the
-- conversation, the user's side (0: a room), and the id up to which. Returns whether any was not read before (1 or 0), or
-- 'late' or 'again'.

local b = cmsgpack.unpack(ARGV[1])
local user, conversation, side, upto = unpack(b, 4)
local no = refused(server_ms(), b)
if no then
  return no
end
local others, read = standing(conversation, side, user)
if not others then
  return 0
end
local entry = call('XREVRANGE', p .. 'c:' .. conversation, upto, (hidden(conversation)), 'COUNT', 1)[1]
if not entry then
  return 0
end
local total, own, _, who = facts(entry)
local theirs, mine
if side == 0 then
  mine = membership(conversation, user)
  theirs = total - own_among(conversation, user, total, mine)
elseif tonumber(who) == side then
  theirs = total - own
else
  theirs = own
end
if theirs <= read then
  return 0
end
if side == 0 then
  call('HSET', p .. 'm:' .. conversation, user, mine .. ' ' .. theirs)
else
  call('HSET', p .. 'h:' .. conversation, 'r' .. side, theirs)
end
return 1
