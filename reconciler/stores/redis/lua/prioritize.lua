-- Give actions another priority, and move their launches to the line of that level. A relaunch stays ahead of all.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of paths
-- ARGV[3]  priority
-- ARGV[4]  incarnation of the run that is meant; "" = whichever there is
-- ARGV[5]  who did it (JSON up to its closing brace); "" = nobody says it
-- returns  {now, changed, opened lines: {line, place of its first launch}...}
local changed = 0
for _, path in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = record(path)
  local spec, phase, shared_name, line, place = unpack(redis.pcall('HMGET', key, 's', 'p', 'h', 'nl', 'np'))
  if spec and not another_life(shared_name, ARGV[4]) and not terminal(phase) then
    redis.call('HSET', key, 'pr', ARGV[3])
    if ARGV[5] ~= '' then redis.call('HSET', key, 'pb', ARGV[5] .. ',"at":' .. int(now) .. '}') end
    changed = changed + 1
    if line and at_level(line, ARGV[3]) ~= line then
      leave(line, path)
      stand(key, path, line, place, ARGV[3])
    end
  end
end
return { int(now), changed, enter_lines() }
