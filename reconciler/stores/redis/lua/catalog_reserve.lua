-- Take or extend the reservation of a cache key, or learn who holds it and wait.
-- KEYS[1]  catalog entry
-- ARGV[1]  base
-- ARGV[2]  owner
-- ARGV[3]  heartbeat in ms
-- ARGV[4]  lease in ms
-- ARGV[5]  how long token and waiters are remembered after that, in ms
-- returns  {owner, token, end of the lease, heartbeat}
local res, wait, owner, memory = base .. 'res', base .. 'wait', ARGV[2], tonumber(ARGV[5])
local r = redis.call('HMGET', res, 'o', 't', 'e', 'h')
if r[1] and r[1] ~= owner and tonumber(r[3]) > now then
  -- who waits first is served first, however often it asks
  redis.call('ZADD', wait, 'NX', int(now), owner)
  redis.call('PEXPIRE', wait, memory)
  return { r[1], r[2], r[3], r[4] }
end
local token = r[2]
-- a new holder outranks all before it, also when the counter was lost: time goes on
if r[1] ~= owner then token = int(math.max(tonumber(r[2] or 0) + 1, now)) end
local until_ms = int(now + tonumber(ARGV[4]))
redis.call('HSET', res, 'o', owner, 't', token, 'e', until_ms, 'h', ARGV[3])
redis.call('PEXPIRE', res, int(tonumber(ARGV[4]) + memory))
redis.call('ZREM', wait, owner)
return { owner, token, until_ms, ARGV[3] }
