-- Record how an attempt ended, and make its action due.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  outcome (JSON up to its closing brace)
-- ARGV[6]  incarnation of the action that was started; "" = not known
-- returns  1 recorded, 0 superseded
local path = ARGV[2]
local key = record(path)
local r = redis.call('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h')
if not r[1] or another_life(r[6], ARGV[6]) or terminal(r[2]) or r[3] ~= ARGV[3] or r[4] ~= ARGV[4] then return 0 end
if r[5] then return 1 end
redis.call('HSET', key, 'ar', ARGV[5] .. ',"at":' .. int(now) .. '}', 'al', '0')
wake(key, path, now)
return 1
