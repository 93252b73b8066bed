-- Bytes of a message that are returned where its content is not asked for.
local MOST_WHOLE = 4000

-- A message without its number; of a large one only what stands before its content: the first six of its eight parts, or
-- five if it has no cid.
local function head_of(rest)
  if #rest <= MOST_WHOLE then
    return rest
  end
  return cmsgpack.pack({select(2, cmsgpack.unpack_limit(rest, 6, 1))})
end
