-- An inbox is a stream, and the offset 1 is its id 1-0. Each generation begins at a multiple of this.
local GENERATION = 4194304
