-- Give actions another priority, and move their launches to the line of that level. A relaunch stays ahead of all.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of paths
-- ARGV[3]  priority
-- ARGV[4]  incarnation of the run that is meant; "" = whichever there is
-- ARGV[5]  who did it (JSON up to its closing brace); "" = nobody says it
-- ARGV[6]  most notes of that which a record keeps
-- returns  {now, changed, opened lines: {line, place of its first launch}...}
local changed, note = 0, ARGV[5] ~= '' and ARGV[5] .. ',"at":' .. int(now) .. '}'

-- Add the note to a list of them, each on a line of its own: without the oldest when there are too many. A release that
-- kept no list kept the last note.
local function noted(list, last)
  list = list or last and '[' .. last .. ']'
  if not list then return '[' .. note .. ']' end
  local _, lines = list:gsub('\n', '')
  if lines + 1 >= tonumber(ARGV[6]) then list = '[' .. list:sub(list:find('\n', 1, true) + 1) end
  return list:sub(1, -2) .. ',\n' .. note .. ']'
end

for _, path in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = record(path)
  local spec, phase, shared_name, line, place = unpack(redis.pcall('HMGET', key, 's', 'p', 'h', 'nl', 'np'))
  if spec and not another_life(shared_name, ARGV[4]) and not terminal(phase) then
    redis.call('HSET', key, 'pr', ARGV[3])
    if note then redis.call('HSET', key, 'pb', note, 'pa', noted(unpack(redis.call('HMGET', key, 'pa', 'pb')))) end
    changed = changed + 1
    if line and at_level(line, ARGV[3]) ~= line then
      leave(line, path)
      stand(key, path, line, place, ARGV[3])
    end
  end
end
return { int(now), changed, enter_lines() }
