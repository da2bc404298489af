-- Give the reservation of a cache key back, and stop waiting for it.
-- KEYS[1]  catalog entry
-- ARGV[1]  base
-- ARGV[2]  owner
-- returns  {owners to wake}
local res, wait = base .. 'res', base .. 'wait'
redis.call('ZREM', wait, ARGV[2])
if redis.call('HGET', res, 'o') ~= ARGV[2] then return {} end
redis.call('HDEL', res, 'o', 'e', 'h')
if redis.call('EXISTS', KEYS[1]) == 1 then
  local waiting = redis.call('ZRANGE', wait, 0, -1)
  redis.call('DEL', wait)
  return waiting
end
-- only one can have it next
local first = redis.call('ZPOPMIN', wait)
return { first[1] }
