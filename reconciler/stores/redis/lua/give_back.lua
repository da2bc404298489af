-- Put launches that were drawn and not begun back to their place in the line, as if nobody had drawn them.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  line
-- ARGV[3]  owner
-- ARGV[4]  msgpack: list of {path, launch, incarnation}
-- returns  opened lines: {line, place of its first launch, when, µs}...
for _, one in ipairs(cmsgpack.unpack(ARGV[4])) do
  local path, launch, incarnation = unpack(one)
  local key = record(path)
  local spec, phase, current, owner, ended_as, shared_name, place, wanted, claimed, priority =
    unpack(redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h', 'np', 'u', 'l', 'pr'))
  local lives = spec and not another_life(shared_name, incarnation) and not terminal(phase)
  if lives and current == launch and owner == ARGV[3] and not ended_as then
    redis.call('HDEL', key, 'ao', 'al', 'as', 'ab', 'u')
    -- nothing watches a lease any more; who woke the action meanwhile waits for a look, and a step that holds it writes its
    -- own due time
    if not claimed and tonumber(redis.call('ZSCORE', KEYS[1], path) or 0) > now then
      if wanted then redis.call('ZADD', KEYS[1], wanted, path) else redis.call('ZREM', KEYS[1], path) end
    end
    stand(key, path, ARGV[2], place or int(now), priority)
  end
end
return enter_lines()
