-- Retires the id of a daemon: its users will be removed.
--
-- Input:
--   ARGV[1]  the id

-- @include "bury"
-- @include "serverMilliseconds"

if call('ZSCORE', prefix .. 'daemons', ARGV[1]) then
  bury(ARGV[1], server_milliseconds())
end
