-- Record how attempts of one worker ended, and make their actions due.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  owner
-- ARGV[3]  msgpack: list of {path, launch, outcome (JSON up to its closing brace), incarnation of the action that was
--          started; "" = not known}
-- returns  list of 1 recorded, 0 superseded
local answers = {}
for i, one in ipairs(cmsgpack.unpack(ARGV[3])) do
  local path, launch, outcome, incarnation = unpack(one)
  local key = record(path)
  local spec, phase, current, owner, ended_as, shared_name, lease_ends, woken =
    unpack(redis.pcall('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'h', 'l', 'w'))
  local lives = spec and not another_life(shared_name, incarnation) and not terminal(phase)
  if not lives or current ~= launch or owner ~= ARGV[2] then
    answers[i] = 0
  else
    if not ended_as then end_attempt(key, path, outcome, lease_ends, woken) end
    answers[i] = 1
  end
end
return answers
