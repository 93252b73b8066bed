-- @include "base"
-- The remaining budget of one retention step. If the server's clock does not advance within a script, the other limits
-- bound it.
local entries_left, bytes_left, stop_at

local function microseconds()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function begin_step(entries, bytes, milliseconds)
  entries_left, bytes_left, stop_at = entries, bytes, microseconds() + milliseconds * 1000
end

local function spend(entries, bytes)
  entries_left, bytes_left = entries_left - entries, bytes_left - bytes
end

local function is_spent()
  return entries_left <= 0 or bytes_left <= 0 or microseconds() >= stop_at
end
