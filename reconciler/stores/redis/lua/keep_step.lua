-- Keep a value of a running launch under a name, unless there is one already; the action keeps it through all its launches.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  incarnation of the action that was started
-- ARGV[6]  name
-- ARGV[7]  value
-- ARGV[8]  1: when the name is new, forget the values of all others
-- returns  {the value that is kept; false when the launch is superseded, now}
local key, steps = record(ARGV[2]), base .. 'steps:' .. ARGV[2]
local spec, phase, launch, owner, ended_as, shared_name = unpack(redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h'))
local lives = spec and not another_life(shared_name, ARGV[5]) and not terminal(phase)
if not lives or launch ~= ARGV[3] or owner ~= ARGV[4] or ended_as then return { false, int(now) } end
if ARGV[8] == '1' and redis.call('HEXISTS', steps, ARGV[6]) == 0 then redis.call('DEL', steps) end
redis.call('HSETNX', steps, ARGV[6], ARGV[7])
return { redis.call('HGET', steps, ARGV[6]), int(now) }
