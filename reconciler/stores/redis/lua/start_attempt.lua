-- Take the lease of a launch: at most one worker ever gets it.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  lease in ms
-- ARGV[6]  grace in ms after the lease until a step looks
-- ARGV[7]  incarnation of the action that was launched; "" = its message does not say
-- returns  {0, flat fields, now} or {refusal}: 1 gone, 2 ended, 3 aborting, 4 superseded, 5 taken
local path = ARGV[2]
local key = record(path)
local r = redis.call('HMGET', key, 's', 'p', 'd', 'n', 'ao', 'ax', 'nq', 'nt', 'l', 'h')
if r[1] and another_life(r[10], ARGV[7]) then return { 4 } end
if not r[1] then return { 1 } end
if terminal(r[2]) then return { 2 } end
if r[3] or r[6] then return { 3 } end
if r[4] ~= ARGV[3] then return { 4 } end
if r[5] then return { 5 } end
local until_ms = now + tonumber(ARGV[5])
redis.call('HSET', key, 'ao', ARGV[4], 'al', int(until_ms), 'as', int(now))
redis.call('HDEL', key, 'ah')
-- a step that holds the action looks at the lease when it commits
if not (r[9] and tonumber(r[9]) > now) then
  local at = redis.call('ZSCORE', KEYS[1], path)
  if at then redis.call('HSET', key, 'u', int(tonumber(at))) end
  redis.call('ZADD', KEYS[1], 'LT', int(until_ms + tonumber(ARGV[6])), path)
end
if r[7] then
  redis.call('ZREM', base .. 'sent:' .. r[7], path)
  -- queues are first in, first out: whatever was sent to this one before and has not started, was lost. A relaunch
  -- (`<attempt>-<relaunch>`) is put at the head, and tells nothing of those behind it.
  local sent = string.find(ARGV[3], '-', 1, true) and 0 or tonumber(r[8] or 0)
  local newest = tonumber(string.match(redis.call('HGET', base .. 'queues', r[7]) or '0', '^%d+'))
  redis.call('HSET', base .. 'queues', r[7], int(math.max(sent, newest)) .. ' ' .. int(now))
end
return { 0, redis.call('HGETALL', key), int(now) }
