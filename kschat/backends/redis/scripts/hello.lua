-- A daemon has connected. Of a store that is new, or that lies on another server or in another life of it than before,
-- the last of what was confirmed may be gone: so offsets go on in another generation, and none is given twice.
-- ARGV: the server's run id; the epoch and the generation that this daemon knows ('' and 0 for none); a new epoch.
-- Returns the epoch, the generation, the server's time.

local key = p .. 'g'
local found = call('HMGET', key, 'epoch', 'run', 'generation')
local epoch, generation = found[1], tonumber(found[3]) or 0
local known_epoch, known = ARGV[2], tonumber(ARGV[3])
local again = generation
if not epoch then
  epoch, again = ARGV[4], known + 1
elseif found[2] ~= ARGV[1] then
  again = math.max(generation, known) + 1
elseif known_epoch ~= '' and known_epoch ~= epoch and known >= generation then
  again = known + 1
end
-- Also where nothing changes: so that a server that takes no writes is known.
call('HSET', key, 'epoch', epoch, 'run', ARGV[1], 'generation', again)
return {epoch, again, server_ms()}
