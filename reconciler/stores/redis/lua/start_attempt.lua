-- Take the lease of one launch that is named, wherever it stands: at most one worker ever gets it.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  lease in ms
-- ARGV[6]  grace in ms after the lease until a step looks
-- ARGV[7]  incarnation of the action that was launched; "" = not known
-- returns  {0, flat fields, now} or {refusal}: 1 gone, 2 ended, 3 aborting, 4 superseded, 5 taken
local path = ARGV[2]
local key = record(path)
local spec, phase, deletion, launch, taken, stop, line, claimed, shared_name =
  unpack(redis.call('HMGET', key, 's', 'p', 'd', 'n', 'ao', 'ax', 'nl', 'l', 'h'))
if not spec then return { 1 } end
if another_life(shared_name, ARGV[7]) then return { 4 } end
if terminal(phase) then return { 2 } end
if deletion or stop then return { 3 } end
if launch ~= ARGV[3] then return { 4 } end
if taken then return { 5 } end
if line then leave(line, path) end
begin(key, path, ARGV[4], now + tonumber(ARGV[5]), tonumber(ARGV[6]), claimed)
return { 0, redis.call('HGETALL', key), int(now) }
