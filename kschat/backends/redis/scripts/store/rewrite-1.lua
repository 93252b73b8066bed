-- Writes changed messages over the ones before, of which nothing is left then: a step of copying their conversation's
-- stream, since an entry of a stream can't be changed, and the bytes of one that is deleted stay until all around it are.
--
-- Input:
--   ARGV[1]  msgpack: the conversation; how many entries and how many bytes of messages this may touch, and for how many
--            milliseconds
-- Output:
--   1 if there is more to do, or 0

-- @include "budget"

local conversation, entries, bytes, milliseconds = unpack(cmsgpack.unpack(ARGV[1]))
local stream, copy, changed = prefix .. 'c:' .. conversation, prefix .. 'y:' .. conversation, prefix .. 'w:' .. conversation
local outdated = prefix .. 'z:' .. conversation

local function done()
  call('UNLINK', copy, changed, outdated)
  call('SREM', prefix .. 'x:changed', conversation)
  return 0
end

-- The copy is the stream from now on. What was changed after it had been copied stays beside it, for the next copy.
local function replace()
  call('UNLINK', stream)
  call('RENAME', copy, stream)
  local left = {}
  for _, id in ipairs(call('SMEMBERS', outdated)) do
    left[id] = call('HGET', changed, id) or nil
  end
  if not next(left) then
    return done()
  end
  call('UNLINK', changed, outdated)
  for id, rest in pairs(left) do
    call('HSET', changed, id, rest)
  end
  return 1
end

begin_step(entries, bytes, milliseconds)
local first = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not first or call('EXISTS', changed) == 0 then
  return done()
end
local newest = call('XREVRANGE', copy, '+', '-', 'COUNT', 1)[1]
local from = newest and '(' .. newest[1] or '-'
repeat
  -- One by one, since their sizes are not known.
  local entry = call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
  if not entry then
    -- What was deleted at the beginning meanwhile.
    call('XTRIM', copy, 'MINID', '=', first[1])
    return replace()
  end
  local fields = entry[2]
  fields[2] = call('HGET', changed, entry[1]) or fields[2]
  call('XADD', copy, entry[1], unpack(fields))
  spend(1, #fields[2])
  from = '(' .. entry[1]
until is_spent()
return 1
