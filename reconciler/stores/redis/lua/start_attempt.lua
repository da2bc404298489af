-- Take the lease of one launch that is named, wherever it stands: at most one worker ever gets it.
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
local r = redis.call('HMGET', key, 's', 'p', 'd', 'n', 'ao', 'ax', 'nl', 'l', 'h')
if r[1] and another_life(r[9], ARGV[7]) then return { 4 } end
if not r[1] then return { 1 } end
if terminal(r[2]) then return { 2 } end
if r[3] or r[6] then return { 3 } end
if r[4] ~= ARGV[3] then return { 4 } end
if r[5] then return { 5 } end
if r[7] then leave(r[7], path) end
begin(key, path, ARGV[4], now + tonumber(ARGV[5]), tonumber(ARGV[6]), r[8])
return { 0, redis.call('HGETALL', key), int(now) }
