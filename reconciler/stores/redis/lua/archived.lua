-- Say that sealed runs are in the archive. A later run of one of their names is not meant.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {run, incarnation or ''}
for _, one in ipairs(cmsgpack.unpack(ARGV[2])) do
  local run, meant = unpack(one)
  local key = base .. 'run:' .. run
  local seal, incarnation = unpack(redis.call('HMGET', key, 'z', 'i'))
  if seal == '1' and (incarnation or '') == meant then redis.call('HSET', key, 'z', '2') end
end
return 0
