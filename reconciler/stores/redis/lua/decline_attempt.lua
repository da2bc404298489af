-- Hand back a launch that its worker cannot run: the lease ends, nothing is spent, and the action is due after a delay.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  why (JSON up to its closing brace)
-- ARGV[6]  delay in ms
-- ARGV[7]  incarnation of the action that was started; "" = not known
-- returns  1 handed back, 0 superseded
local path = ARGV[2]
local key = record(path)
local r = redis.call('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'ad', 'd', 'ax', 'u', 'l', 'h')
if not r[1] or another_life(r[11], ARGV[7]) or terminal(r[2]) or r[3] ~= ARGV[3] or r[4] ~= ARGV[4] or r[5] then return 0 end
local at = now
if not (r[7] or r[8]) then at = now + tonumber(ARGV[6]) end
redis.call('HSET', key, 'ad', int(tonumber(r[6] or 0) + 1), 'ah', ARGV[5] .. ',"until":' .. int(at) .. '}')
redis.call('HDEL', key, 'ao', 'al', 'as', 'u')
if r[9] then at = math.min(at, tonumber(r[9])) end
if r[10] then
  wake(key, path, at)
else
  local due = redis.call('ZSCORE', KEYS[1], path)
  if not due or tonumber(due) > now then redis.call('ZADD', KEYS[1], int(at), path) end
end
return 1
