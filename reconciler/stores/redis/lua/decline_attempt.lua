-- Hand back a launch that its worker cannot run: the lease ends, nothing is spent, and the action is due after a delay.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  why (JSON up to its closing brace)
-- ARGV[6]  delay in ms
-- ARGV[7]  incarnation of the action that was started; "" = not known
-- returns  1 handed back, 0 superseded
local path = ARGV[2]
local key = record(path)
local spec, phase, launch, owner, ended_as, times, deletion, stop, wanted, claimed, shared_name =
  unpack(redis.call('HMGET', key, 's', 'p', 'n', 'ao', 'ar', 'ad', 'd', 'ax', 'u', 'l', 'h'))
if not spec or another_life(shared_name, ARGV[7]) or terminal(phase) then return 0 end
if launch ~= ARGV[3] or owner ~= ARGV[4] or ended_as then return 0 end
local at = now
if not (deletion or stop) then at = now + tonumber(ARGV[6]) end
redis.call('HSET', key, 'ad', int(tonumber(times or 0) + 1), 'ah', ARGV[5] .. ',"until":' .. int(at) .. '}')
redis.call('HDEL', key, 'ao', 'al', 'as', 'u')
if wanted then at = math.min(at, tonumber(wanted)) end
if claimed then
  wake(key, path, at)
else
  local due = redis.call('ZSCORE', KEYS[1], path)
  if not due or tonumber(due) > now then redis.call('ZADD', KEYS[1], int(at), path) end
end
return 1
