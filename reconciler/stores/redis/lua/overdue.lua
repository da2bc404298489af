-- Whether something is due for longer than a grace, or will be soon without a countdown: a lost wake-up heals here.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  grace in ms
-- ARGV[3]  life of the pending mark in ms
-- ARGV[4]  horizon of countdowns in ms
-- returns  {overdue 0/1, next due, arm 0/1, now}
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[1] then return { 0, '0', 0, int(now) } end
if tonumber(head[2]) + tonumber(ARGV[2]) <= now then
  -- a mark that outlived its message must not keep the shard asleep
  redis.call('SET', base .. 'pending', '1', 'PX', ARGV[3])
  return { 1, head[2], 0, int(now) }
end
local at, arm = next_due(tonumber(ARGV[4]))
return { 0, at, arm, int(now) }
