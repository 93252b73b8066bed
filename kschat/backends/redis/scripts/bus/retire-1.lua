-- An id of a daemon is used no more: its users are to be taken off.
--
-- Input:
--   ARGV[1]  the id

-- @include "bury"
-- @include "serverMilliseconds"

if call('ZSCORE', prefix .. 'daemons', ARGV[1]) then
  bury(ARGV[1], server_milliseconds())
end
