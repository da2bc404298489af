-- Ask the launch that may report to stop; without one there is nothing to ask.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  reason
-- ARGV[4]  incarnation of the action that is meant; "" = whichever there is
-- returns  1
local key = record(ARGV[2])
local launch, shared_name = unpack(redis.call('HMGET', key, 'n', 'h'))
if launch and not another_life(shared_name, ARGV[4]) then redis.call('HSET', key, 'ax', ARGV[3]) end
return 1
