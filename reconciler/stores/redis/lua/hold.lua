-- Hold a run for one that is made of it: its records for some time, its objects as long as the holder is there.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  run that is held
-- ARGV[3]  its incarnation
-- ARGV[4]  run that holds it
-- ARGV[5]  how long its records are kept, ms
-- ARGV[6]  1: also when it is not stored, as it is archived
-- returns  until when, ms; 0: the run is not stored, or in another incarnation, and nobody holds it
local counters = base .. 'run:' .. ARGV[2]
local name = ARGV[3] == '' and ARGV[2] or ARGV[2] .. '@' .. ARGV[3]
local there = redis.call('HGET', counters, 'i') or (redis.call('EXISTS', counters) == 1 and '')
local holds = base .. 'holds:' .. name
if ARGV[6] == '0' and there ~= ARGV[3] and redis.call('EXISTS', holds) == 0 then return '0' end
local ends = int(now + tonumber(ARGV[5]))
redis.call('HSET', holds, ARGV[4], ends)
redis.call('SADD', base .. 'held', name)
return ends
