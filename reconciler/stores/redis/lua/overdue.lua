-- Whether something is due for longer than a grace, or will be soon without a countdown: a lost wake-up heals here.
-- Lost launches too: those that were overtaken are made due; while a queue starts nothing, the oldest one, ever more seldom.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  grace in ms
-- ARGV[3]  life of the pending mark in ms
-- ARGV[4]  horizon of countdowns in ms
-- ARGV[5]  how old a launch must be to count as overtaken, in ms
-- ARGV[6]  most launches to make due at once
-- ARGV[7]  how long a queue may start nothing until its oldest launch is looked at, in ms
-- ARGV[8]  how often that is doubled at most, from the third time on
-- ARGV[9]  how long a queue is remembered after its last start when nothing waits for it, in ms
-- returns  {overdue 0/1, next due, arm 0/1, now}
local function lost_launches(queue, facts)
  local waiting = base .. 'sent:' .. queue
  local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  local moved, started, probed, times = string.match(facts, '^(%d+) (%d+) ?(%d*) ?(%d*)$')
  times = tonumber(times) or 0
  if not oldest[1] then
    if tonumber(started) + tonumber(ARGV[9]) < now then
      redis.call('HDEL', base .. 'queues', queue)
    elseif times > 0 then
      redis.call('HSET', base .. 'queues', queue, moved .. ' ' .. started)
    end
    return {}
  end
  local before = int(math.min(tonumber(moved), now - tonumber(ARGV[5])))
  local overtaken = redis.call('ZRANGE', waiting, '-inf', '(' .. before, 'BYSCORE', 'LIMIT', 0, ARGV[6])
  if #overtaken > 0 then return overtaken end
  local last = math.max(tonumber(oldest[2]), tonumber(started), tonumber(probed) or 0)
  if now < last + tonumber(ARGV[7]) * 2 ^ math.min(math.max(times - 2, 0), tonumber(ARGV[8])) then return {} end
  local value = moved .. ' ' .. started .. ' ' .. int(now) .. ' ' .. int(times + 1)
  redis.call('HSET', base .. 'queues', queue, value)
  return { oldest[1] }
end

local lost = false

-- Whether a launch of this action still waits for a worker of that queue; if not, it is forgotten here. One whose record
-- is gone or hidden by foreign data is made due: the claim tells of it, and drops what has no record.
local function waits(path, queue)
  local r = redis.pcall('HMGET', record(path), 'nq', 'ao', 'p', 's')
  if not r.err and r[1] == queue and not r[2] and not terminal(r[3]) then return true end
  redis.call('ZREM', base .. 'sent:' .. queue, path)
  if r.err or not r[4] then
    redis.call('ZADD', KEYS[1], 'XX', 'LT', int(now), path)
    lost = true
  end
  return false
end

local queues = redis.call('HGETALL', base .. 'queues')
for i = 1, #queues, 2 do
  for _, path in ipairs(lost_launches(queues[i], queues[i + 1])) do
    if waits(path, queues[i]) then
      wake(record(path), path, now)
      lost = true
    end
  end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[1] then return { 0, '0', 0, int(now) } end
if lost or tonumber(head[2]) + tonumber(ARGV[2]) <= now then
  -- a mark that outlived its message must not keep the shard asleep
  redis.call('SET', base .. 'pending', '1', 'PX', ARGV[3])
  return { 1, head[2], 0, int(now) }
end
local at, arm = next_due(tonumber(ARGV[4]))
return { 0, at, arm, int(now) }
