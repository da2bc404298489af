-- Drop holds, but none that was renewed since it was read.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {run that is held and its incarnation, run that holds it, until when: as it was read}
for _, hold in ipairs(cmsgpack.unpack(ARGV[2])) do
  local source, holder, until_ms = unpack(hold)
  local holds = base .. 'holds:' .. source
  if redis.call('HGET', holds, holder) == until_ms then redis.call('HDEL', holds, holder) end
  if redis.call('EXISTS', holds) == 0 then redis.call('SREM', base .. 'held', source) end
end
