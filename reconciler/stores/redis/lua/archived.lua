-- Say that sealed runs are in the archive. A later run of one of their names is not meant.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {run, incarnation or ''}
for _, one in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = base .. 'run:' .. one[1]
  local known = redis.call('HMGET', key, 'z', 'i')
  if known[1] == '1' and (known[2] or '') == one[2] then redis.call('HSET', key, 'z', '2') end
end
return 0
