-- Pause a queue or let it go on, bound how much may wait in it, and tell both.
-- KEYS[1]  heads
-- ARGV[1]  base of the queue's keys
-- ARGV[2]  1: pause; 0: go on; "" = as it is
-- ARGV[3]  most launches that may wait, -1 = any; "" = as it is
-- ARGV[4]  who changes what (JSON up to its closing brace); "" = nothing is noted
-- ARGV[5]  most notes that are kept
-- returns  {1 when it is paused, most launches that may wait or -1}
if ARGV[2] == '1' then redis.call('SET', base .. 'paused', '1') end
if ARGV[2] == '0' then redis.call('DEL', base .. 'paused') end
if ARGV[3] == '-1' then
  redis.call('DEL', base .. 'limit')
elseif ARGV[3] ~= '' then
  redis.call('SET', base .. 'limit', ARGV[3])
end
if ARGV[4] ~= '' then
  redis.call('XADD', base .. 'ruled', 'MAXLEN', ARGV[5], '*', 'r', ARGV[4] .. ',"at":' .. int(now) .. '}')
end
return { redis.call('EXISTS', base .. 'paused'), tonumber(redis.call('GET', base .. 'limit') or -1) }
