-- Applies the events of one reactor turn of a daemon.
--
-- Input:
--   ARGV[1]  the daemon's id
--   ARGV[2]  msgpack: for each user that came or went the name, and '1', or '0' and the time, in milliseconds
--   ARGV[3]  msgpack: the messages to publish, each after its channel
--   ARGV[4]  the server's time, in milliseconds, after which ARGV[3] is stale (the server was blocked) and is dropped
--   ARGV[5]  msgpack: the questions to other daemons, each after its user, its channel, and 1 if the daemon
--            that asks listens there as well, or 0
--   ARGV[6]  1 if any daemon listens at another server than this, so that this one does not see all subscribers
-- Output:
--   1 if the daemon was known, or 0: then no user was added; for each question, the number of other
--   daemons that can answer

-- @include "publishOffline"
-- @include "serverMilliseconds"

local id, deadline, is_remote = ARGV[1], tonumber(ARGV[4]), ARGV[6] == '1'
local is_known = call('ZSCORE', prefix .. 'daemons', id)

local function come(user)
  call('SADD', prefix .. 'of:' .. id, user)
  local was_offline = call('EXISTS', prefix .. 'on:' .. user) == 0
  call('SADD', prefix .. 'on:' .. user, id)
  if was_offline then
    call('HDEL', prefix .. 'seen', user)
    call('PUBLISH', prefix .. 'p:' .. user, '1')
  end
end

local function go(user, seen)
  call('SREM', prefix .. 'of:' .. id, user)
  call('SREM', prefix .. 'on:' .. user, id)
  publish_offline(user, seen)
end

local function move(moves)
  for at = 1, #moves, 2 do
    local user, what = moves[at], moves[at + 1]
    if what ~= '1' then
      go(user, sub(what, 2))
    elseif is_known then
      come(user)
    end
  end
end

local function publish(words)
  for at = 1, #words, 2 do
    call('PUBLISH', words[at], words[at + 1])
  end
end

-- Publish a question; how many other daemons there are to answer it.
local function ask(user, channel, own, question)
  local others = call('PUBLISH', channel, question) - tonumber(own)
  if is_remote then
    local on = prefix .. 'on:' .. user
    others = call('SCARD', on) - call('SISMEMBER', on, id)
  end
  return math.max(others, 0)
end

local answer = {is_known and 1 or 0}
move(cmsgpack.unpack(ARGV[2]))
if server_milliseconds() <= deadline then
  publish(cmsgpack.unpack(ARGV[3]))
  local asks = cmsgpack.unpack(ARGV[5])
  for at = 1, #asks, 4 do
    answer[#answer + 1] = ask(asks[at], asks[at + 1], asks[at + 2], asks[at + 3])
  end
end
return answer
