-- Take or extend the reservation of a cache key, or learn who holds it and wait.
-- KEYS[1]  catalog entry
-- ARGV[1]  base
-- ARGV[2]  owner
-- ARGV[3]  heartbeat in ms
-- ARGV[4]  lease in ms
-- ARGV[5]  how long token and waiters are remembered after that, in ms
-- returns  {owner, token, end of the lease, heartbeat}
local res, wait, owner, memory = base .. 'res', base .. 'wait', ARGV[2], tonumber(ARGV[5])
local holder, token, ends, heartbeat = unpack(redis.call('HMGET', res, 'o', 't', 'e', 'h'))
if holder and holder ~= owner and tonumber(ends) > now then
  -- who waits first is served first, however often it asks
  redis.call('ZADD', wait, 'NX', int(now), owner)
  redis.call('PEXPIRE', wait, memory)
  return { holder, token, ends, heartbeat }
end
-- a new holder outranks all before it, also when the counter was lost: time goes on
if holder ~= owner then token = int(math.max(tonumber(token or 0) + 1, now)) end
local until_ms = int(now + tonumber(ARGV[4]))
redis.call('HSET', res, 'o', owner, 't', token, 'e', until_ms, 'h', ARGV[3])
redis.call('PEXPIRE', res, int(tonumber(ARGV[4]) + memory))
redis.call('ZREM', wait, owner)
return { owner, token, until_ms, ARGV[3] }
