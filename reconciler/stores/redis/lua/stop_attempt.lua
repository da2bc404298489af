-- Ask the launch that may report to stop; without one there is nothing to ask.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  reason
-- returns  1
local key = record(ARGV[2])
if redis.call('HEXISTS', key, 'n') == 1 then redis.call('HSET', key, 'ax', ARGV[3]) end
return 1
