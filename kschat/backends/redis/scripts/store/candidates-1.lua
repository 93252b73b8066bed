-- A slice of a user's list of conversations, and which of these have a message. The list is in the order of their newest
-- messages but for a minute: of two conversations, the one with the greater score may have had the earlier message.
--
-- Input:
--   ARGV[1]  the user
--   ARGV[2]  the score with which the slice begins; '' for the first slice
--   ARGV[3]  how many conversations of that score were in slices before
--   ARGV[4]  how many are examined
--   ARGV[5]  the id that the newest message of each must come before; '' for any
--   ARGV[6]  how many milliseconds the list may be out of date
-- Output:
--   score and number (see above) of the next slice, '' and 0 if there is none; then of each conversation with a message its
--   side and name, its score, the id of its newest message
--
-- Flags: no-writes

-- @include "base"
-- @include "ids"

local user, from, passed, most, upto, late = unpack(ARGV)
passed, most = tonumber(passed), tonumber(most)
local list = prefix .. 'v:' .. user

local function newest_of(name)
  return call('HGET', prefix .. 'h:' .. sub(name, 2), 'l')
end

-- A score below which all are that have messages, and only such as come before ``upto``: a binary search, that ends behind
-- one whose newest message does not. That was written at most so many milliseconds after the time which is its score.
local function begin()
  if upto == '' then
    return '+inf'
  end
  local low, high, score = 0, call('ZCARD', list), nil
  while low < high do
    local middle = floor((low + high) / 2)
    local name, its = unpack(call('ZREVRANGE', list, middle, middle, 'WITHSCORES'))
    local newest = newest_of(name)
    if newest and not is_before(newest, upto) then
      low, score = middle + 1, its
    else
      high = middle
    end
  end
  return score and format('%.0f', score + late) or '+inf'
end

if from == '' then
  from = begin()
end
local entries = call('ZREVRANGEBYSCORE', list, from, '-inf', 'WITHSCORES', 'LIMIT', passed, most)
local answer = {'', 0}
for at = 1, #entries, 2 do
  local newest = newest_of(entries[at])
  if newest and (upto == '' or is_before(newest, upto)) then
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entries[at], entries[at + 1], newest
  end
end
if #entries == 2 * most then
  local last = entries[#entries]
  local same = 0
  for at = #entries, 2, -2 do
    if entries[at] ~= last then
      break
    end
    same = same + 1
  end
  answer[1], answer[2] = last, last == from and passed + same or same
end
return answer
