-- Whether something is due for longer than a grace, or will be soon without a countdown: a lost wake-up heals here.
-- Tells also which lines have launches, so that heads and tickets that were lost are made again.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  grace in ms
-- ARGV[3]  life of the pending mark in ms
-- ARGV[4]  horizon of countdowns in ms
-- ARGV[5]  most lines to tell of; of more, some at random
-- ARGV[6]  1: a countdown that is armed may have died with the worker that held it, so the caller sends another one
-- returns  {overdue 0/1, next due, arm 0/1, now, lines: {line, place of its first launch, when, µs}...}
local lines = {}
for _, line in ipairs(redis.call('SRANDMEMBER', base .. 'lines', tonumber(ARGV[5]))) do
  local first = redis.call('ZRANGE', base .. 'line:' .. line, 0, 0, 'WITHSCORES')
  if first[2] then
    lines[#lines + 1] = { line, first[2], stamp }
  else
    redis.call('SREM', base .. 'lines', line)
  end
end
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[1] then return { 0, '0', 0, int(now), lines } end
if tonumber(head[2]) + tonumber(ARGV[2]) <= now then
  -- a mark that outlived its message must not keep the shard asleep
  redis.call('SET', base .. 'pending', '1', 'PX', ARGV[3])
  return { 1, head[2], 0, int(now), lines }
end
if ARGV[6] == '1' then redis.call('DEL', base .. 'armed') end
local at, arm = next_due(tonumber(ARGV[4]))
return { 0, at, arm, int(now), lines }
