-- A daemon has connected. Of a store that is new, or that lies on another server or in another life of it than before, or
-- that is older than it was, the last of what was confirmed may be gone: so offsets go on in another generation, and none is
-- given twice.
-- ARGV: the server's run id; the epoch, the generation, the run id and the last number (milliseconds, count) that this daemon
-- knows ('', 0, '', 0 and 0 for none); a new epoch.
-- Returns the epoch, the generation, the server's time, the last number (milliseconds, count).

-- Whatever the scripts do to keys is done here once, so that a user who may not is told so now, and not amid a batch.
local trial = p .. 'x:try'
for _, command in ipairs({
  {'DEL', trial},
  {'EXISTS', trial},
  {'XADD', trial, '1-*', 'a', 'b'},
  {'XRANGE', trial, '-', '+'},
  {'XREVRANGE', trial, '+', '-'},
  {'XINFO', 'STREAM', trial},
  {'XLEN', trial},
  {'XDEL', trial, '1-0'},
  {'XTRIM', trial, 'MINID', '=', '1-1'},
  {'DEL', trial},
  {'HSET', trial, 'a', 1},
  {'HSETNX', trial, 'b', 1},
  {'HGET', trial, 'a'},
  {'HMGET', trial, 'a', 'b'},
  {'HINCRBY', trial, 'a', 1},
  {'HEXISTS', trial, 'a'},
  {'HKEYS', trial},
  {'HLEN', trial},
  {'HDEL', trial, 'a', 'b'},
  {'ZADD', trial, 'NX', 1, 'a'},
  {'ZRANGEBYSCORE', trial, '-inf', '(1'},
  {'ZREVRANGEBYSCORE', trial, '+inf', '-inf'},
  {'ZREVRANGE', trial, 0, 0},
  {'ZRANGE', trial, 0, 0},
  {'ZREMRANGEBYSCORE', trial, '-inf', 0},
  {'ZREM', trial, 'a'},
  {'UNLINK', trial},
  {'SADD', trial, 'a'},
  {'SPOP', trial},
  {'SET', trial, 1, 'PX', 1000},
  {'GET', trial},
  {'DEL', trial},
  {'TIME'},
}) do
  local tried = redis.pcall(unpack(command))
  if type(tried) == 'table' and tried.err then
    return redis.error_reply('NOPERM ' .. command[1] .. ' of ' .. p .. '*: ' .. tried.err)
  end
end

local key = p .. 'g'
local found = call('HMGET', key, 'epoch', 'run', 'generation', 'ms', 'seq')
local epoch, generation = found[1], tonumber(found[3]) or 0
local ms, seq = tonumber(found[4]) or 0, tonumber(found[5]) or 0
local run, known_epoch, known, known_run = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local known_ms, known_seq = tonumber(ARGV[5]), tonumber(ARGV[6])
local again = generation
if not epoch then
  epoch, again = ARGV[7], known + 1
elseif found[2] ~= run then
  again = next_generation(math.max(generation, known))
elseif known_epoch == epoch and (known > generation or ms < known_ms or (ms == known_ms and seq < known_seq)) then
  -- An older copy was put in place of what was here, and the server went on running.
  again = next_generation(math.max(generation, known))
elseif known >= generation and known > 0 and (known_epoch ~= epoch or known_run ~= run) then
  -- Another daemon was here first, and knew less.
  again = next_generation(known)
end
if again ~= generation then
  call('HSET', key, 'floor', 0)
end
-- Also where nothing changes: so that a server that takes no writes is known.
call('HSET', key, 'epoch', epoch, 'run', run, 'generation', format('%.0f', again))
return {epoch, again, server_ms(), ms, seq}
