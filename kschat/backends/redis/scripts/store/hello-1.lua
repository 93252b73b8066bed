-- Greets a daemon that has connected and decides which offsets may be assigned from now on.
--
-- The last acknowledged messages may be lost if the store is new, on another server, restarted, or older than it was.
-- Offsets then continue in another generation, so that no offset is assigned twice.
--
-- Input:
--   ARGV[1]  the server's run id
--   ARGV[2..6]  the state that this daemon knows: the epoch, the generation, the run id, the last number
--            (milliseconds, count); '', 0, '', 0 and 0 if it knows none
--   ARGV[7]  a new epoch
-- Output:
--   the epoch; the generation; the server's time, in milliseconds; the last number (milliseconds, count)

-- @include "nextGeneration"

-- Do once whatever the scripts do to keys, so that a user who may not is told so now, and not amid a batch.
local function try_commands()
  local trial = prefix .. 'x:try'
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
    {'HGETALL', trial},
    {'RENAME', trial, trial},
    {'HLEN', trial},
    {'HDEL', trial, 'a', 'b'},
    {'ZADD', trial, 'NX', 1, 'a'},
    {'ZRANGEBYSCORE', trial, '-inf', '(1'},
    {'ZREVRANGEBYSCORE', trial, '+inf', '-inf'},
    {'ZREVRANGE', trial, 0, 0},
    {'ZRANGE', trial, 0, 0},
    {'ZCARD', trial},
    {'ZSCAN', trial, 0},
    {'ZREMRANGEBYSCORE', trial, '-inf', 0},
    {'ZCARD', trial},
    {'ZSCORE', trial, 'a'},
    {'ZREM', trial, 'a'},
    {'UNLINK', trial},
    {'SADD', trial, 'a'},
    {'SISMEMBER', trial, 'a'},
    {'SCARD', trial},
    {'SMEMBERS', trial},
    {'SSCAN', trial, 0},
    {'SREM', trial, 'b'},
    {'SRANDMEMBER', trial},
    {'SPOP', trial},
    {'SET', trial, 'a', 'PX', 1},
    {'GET', trial},
    {'TIME'},
  }) do
    local tried = pcall_redis(unpack(command))
    if type(tried) == 'table' and tried.err then
      return redis.error_reply('NOPERM ' .. command[1] .. ' of ' .. prefix .. '*: ' .. tried.err)
    end
  end
end

local run = ARGV[1]
local known = {
  epoch = ARGV[2],
  generation = tonumber(ARGV[3]),
  run = ARGV[4],
  ms = tonumber(ARGV[5]),
  count = tonumber(ARGV[6]),
}

local function found_here(key)
  local found = call('HMGET', key, 'epoch', 'run', 'generation', 'ms', 'seq')
  return {
    epoch = found[1],
    run = found[2],
    generation = tonumber(found[3]) or 0,
    ms = tonumber(found[4]) or 0,
    count = tonumber(found[5]) or 0,
  }
end

local function is_older(here)
  return here.generation < known.generation
    or here.ms < known.ms
    or (here.ms == known.ms and here.count < known.count)
end

local function generation_of(here)
  if not here.epoch then
    return known.generation + 1
  end
  if here.run ~= run or (known.epoch == here.epoch and is_older(here)) then
    return next_generation(math.max(here.generation, known.generation))
  end
  if
    known.generation > 0
    and known.generation >= here.generation
    and (known.epoch ~= here.epoch or known.run ~= run)
  then
    -- Another daemon was here first, and knew less.
    return next_generation(known.generation)
  end
  return here.generation
end

local refused = try_commands()
if refused then
  return refused
end
local key = prefix .. 'g'
local here = found_here(key)
local epoch, generation = here.epoch or ARGV[7], generation_of(here)
if generation ~= here.generation then
  call('HSET', key, 'floor', 0)
end
-- Also if nothing changes: so that a server that takes no writes is noticed.
call('HSET', key, 'epoch', epoch, 'run', run, 'generation', format('%.0f', generation))
return {epoch, generation, server_milliseconds(), here.ms, here.count}
