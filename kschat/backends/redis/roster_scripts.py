"""Who is where, in Redis: what is kept, and the scripts that change it, each in one step.

Names, after the prefix and ``:r:``: ::

    daemons    sorted set: each daemon that lives, by when it last said so (the server's clock, milliseconds)
    dead       sorted set: those that live no more and are being taken off, by when they last said that they do
    wants      hash: what the sockets of each daemon ask for, and whether it listens at another server (``REMOTE``)
    beat       when any daemon last said that it lives
    settled    from when on whoever is on no daemon is known to be offline (after Redis was away, or forgot all)
    of:ID      set: the users on a daemon
    on:USER    set: the daemons that a user is on; whoever is on none has none
    seen       hash: of users who left one daemon and are on another, the latest time that they left one
    p:USER     channel: "1" the user is online; "0" and milliseconds: offline since then
    w          channel: what a daemon's sockets ask for now: its id, and the number

A daemon that is taken for dead and is not (it was stopped, or cut off) comes again under a new id; the old one is never
used again, so that who takes it off disturbs nobody.
"""

from typing import Final

from kschat.backends.redis.script import Script

_COMMON = """
local p = KEYS[1]
local call = redis.call

local function server_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A user has left one daemon at a time ('seen'). Where it is on no other now, that is told, with the latest time that
-- any daemon has said; else the time is kept until the user leaves the last one, whose clock may be behind.
local function offline(user, seen)
  local before = call('HGET', p .. 'seen', user)
  if before and tonumber(before) > tonumber(seen) then seen = before end
  if call('EXISTS', p .. 'on:' .. user) == 0 then
    if before then call('HDEL', p .. 'seen', user) end
    call('PUBLISH', p .. 'p:' .. user, '0' .. seen)
    return true
  end
  if seen ~= before then call('HSET', p .. 'seen', user, seen) end
end

local function bury(id, beat)
  call('ZREM', p .. 'daemons', id)
  call('HDEL', p .. 'wants', id)
  call('ZADD', p .. 'dead', beat, id)
end
"""

#: A daemon lives. ARGV: its id; "1" where that is new; what it wants; milliseconds: of silence until a daemon is dead,
#: of silence of all until Redis was away, until then all must have said that they live.
#: Returns: whether it was known; the server's time; what all others want; the ids of the dead.
BEAT: Final = Script(
    _COMMON
    + """
local id, wants = ARGV[1], ARGV[3]
local dead_after, away_after, settle = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = server_ms()
if math.abs(now - (tonumber(call('GET', p .. 'beat')) or 0)) > away_after then
  call('SET', p .. 'settled', now + settle)
end
call('SET', p .. 'beat', now)
local left = math.max((tonumber(call('GET', p .. 'settled')) or 0) - now, 0)
if ARGV[2] ~= '1' and not call('ZSCORE', p .. 'daemons', id) then
  return {0, now, 0}
end
call('ZADD', p .. 'daemons', now, id)
local before = call('HGET', p .. 'wants', id)
if before ~= wants then
  call('HSET', p .. 'wants', id, wants)
  call('PUBLISH', p .. 'w', id .. wants)
end
if left == 0 then
  -- Also those whose time lies in the future: the server's clock went back.
  for _, range in ipairs({{'-inf', now - dead_after}, {now + dead_after, '+inf'}}) do
    local found = call('ZRANGEBYSCORE', p .. 'daemons', range[1], range[2], 'WITHSCORES')
    for i = 1, #found, 2 do bury(found[i], found[i + 1]) end
  end
end
local others = 0
local all = call('HGETALL', p .. 'wants')
for i = 1, #all, 2 do
  if all[i] ~= id then others = bit.bor(others, tonumber(all[i + 1])) end
end
return {1, now, others, unpack(call('ZRANGE', p .. 'dead', 0, 99))}
"""
)

#: What happened in one turn. ARGV: the daemon's id; packed: each user that came ("1") or went ("0" and when), after its
#: name; packed: what to publish, each after its channel; the server's time after which that is stale (it stood
#: still) and is dropped; packed: what others are asked, each after its user and its channel; "1" where daemons listen
#: at another server than this, so that here nobody is seen to. Returns whether the daemon was known (else nobody came),
#: and of each question how many other daemons there are to answer it.
TURN: Final = Script(
    _COMMON
    + """
local id = ARGV[1]
local known = call('ZSCORE', p .. 'daemons', id)
local answer = {known and 1 or 0}
local moves = cmsgpack.unpack(ARGV[2])
for i = 1, #moves, 2 do
  local user, what = moves[i], moves[i + 1]
  if what ~= '1' then
    call('SREM', p .. 'of:' .. id, user)
    call('SREM', p .. 'on:' .. user, id)
    offline(user, string.sub(what, 2))
  elseif known then
    call('SADD', p .. 'of:' .. id, user)
    local fresh = call('EXISTS', p .. 'on:' .. user) == 0
    call('SADD', p .. 'on:' .. user, id)
    if fresh then
      call('HDEL', p .. 'seen', user)
      call('PUBLISH', p .. 'p:' .. user, '1')
    end
  end
end
if server_ms() <= tonumber(ARGV[4]) then
  local words = cmsgpack.unpack(ARGV[3])
  for i = 1, #words, 2 do call('PUBLISH', words[i], words[i + 1]) end
  local asks = cmsgpack.unpack(ARGV[5])
  for i = 1, #asks, 3 do
    -- The daemon that asks listens as well.
    local others = call('PUBLISH', asks[i + 1], asks[i + 2]) - 1
    if ARGV[6] == '1' then
      local on = p .. 'on:' .. asks[i]
      others = call('SCARD', on) - call('SISMEMBER', on, id)
    end
    answer[#answer + 1] = math.max(others, 0)
  end
end
return answer
"""
)

#: Take some users of a dead daemon off. ARGV: its id; how many. Returns whether that were all; when it last lived;
#: those of them who are nowhere now.
TAKE_OFF: Final = Script(
    _COMMON
    + """
local id, most = ARGV[1], tonumber(ARGV[2])
local beat = call('ZSCORE', p .. 'dead', id)
if not beat then return {1, '0'} end
local users = call('SPOP', p .. 'of:' .. id, most)
local nowhere = {}
for _, user in ipairs(users) do
  call('SREM', p .. 'on:' .. user, id)
  if offline(user, beat) then nowhere[#nowhere + 1] = user end
end
if #users < most then call('ZREM', p .. 'dead', id) end
return {#users < most and 1 or 0, beat, unpack(nowhere)}
"""
)

#: An id is used no more. ARGV: the id. It is to be taken off.
RETIRE: Final = Script(
    _COMMON
    + """
if call('ZSCORE', p .. 'daemons', ARGV[1]) then bury(ARGV[1], server_ms()) end
"""
)

#: Who is anywhere. ARGV: packed users. Returns whether all is settled, and of each "1" or "0".
ONLINE: Final = Script(
    _COMMON
    + """
local found = {}
for i, user in ipairs(cmsgpack.unpack(ARGV[1])) do found[i] = call('EXISTS', p .. 'on:' .. user) end
local settled = (tonumber(call('GET', p .. 'settled')) or math.huge) <= server_ms()
return {settled and 1 or 0, table.concat(found)}
"""
)
