-- Record how attempts of one worker ended, and make their actions due.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  owner
-- ARGV[3]  msgpack: list of {path, launch, outcome (JSON up to its closing brace), incarnation of the action that was
--          started; "" = not known}
-- returns  list of 1 recorded, 0 superseded
local answers = {}
for i, one in ipairs(cmsgpack.unpack(ARGV[3])) do
  local path, launch, outcome, incarnation = one[1], one[2], one[3], one[4]
  local key = record(path)
  local r = redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h')
  if r.err or not r[1] or another_life(r[6], incarnation) or terminal(r[2]) or r[3] ~= launch or r[4] ~= ARGV[2] then
    answers[i] = 0
  else
    if not r[5] then
      redis.call('HSET', key, 'ar', outcome .. ',"at":' .. int(now) .. '}', 'al', '0')
      wake(key, path, now)
    end
    answers[i] = 1
  end
end
return answers
