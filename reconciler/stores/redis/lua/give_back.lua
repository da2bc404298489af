-- Put launches that were drawn and not begun back to their place in the line, as if nobody had drawn them.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  line
-- ARGV[3]  owner
-- ARGV[4]  msgpack: list of {path, launch, incarnation}
-- returns  opened lines: {line, place of its first launch, when, µs}...
for _, one in ipairs(cmsgpack.unpack(ARGV[4])) do
  local path = one[1]
  local key = record(path)
  local r = redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h', 'np', 'u', 'l', 'pr')
  if not r.err and r[1] and not another_life(r[6], one[3]) and not terminal(r[2]) and r[3] == one[2] and r[4] == ARGV[3] and not r[5] then
    redis.call('HDEL', key, 'ao', 'al', 'as', 'ab', 'u')
    -- nothing watches a lease any more; who woke the action meanwhile waits for a look, and a step that holds it writes its
    -- own due time
    if not r[9] and tonumber(redis.call('ZSCORE', KEYS[1], path) or 0) > now then
      if r[8] then redis.call('ZADD', KEYS[1], r[8], path) else redis.call('ZREM', KEYS[1], path) end
    end
    stand(key, path, ARGV[2], r[7] or int(now), r[10])
  end
end
return enter_lines()
