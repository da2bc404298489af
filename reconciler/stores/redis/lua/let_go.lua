-- Drop holds, but none that was renewed since it was read.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {run that is held and its incarnation, run that holds it, until when: as it was read}
for _, hold in ipairs(cmsgpack.unpack(ARGV[2])) do
  local holds = base .. 'holds:' .. hold[1]
  if redis.call('HGET', holds, hold[2]) == hold[3] then redis.call('HDEL', holds, hold[2]) end
  if redis.call('EXISTS', holds) == 0 then redis.call('SREM', base .. 'held', hold[1]) end
end
