-- Keep a value of a running launch under a name, unless there is one already; the action keeps it through all its launches.
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
local r = redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h')
if r.err or not r[1] or another_life(r[6], ARGV[5]) or terminal(r[2]) or r[3] ~= ARGV[3] or r[4] ~= ARGV[4] or r[5] then
  return { false, int(now) }
end
if ARGV[8] == '1' and redis.call('HEXISTS', steps, ARGV[6]) == 0 then redis.call('DEL', steps) end
redis.call('HSETNX', steps, ARGV[6], ARGV[7])
return { redis.call('HGET', steps, ARGV[6]), int(now) }
