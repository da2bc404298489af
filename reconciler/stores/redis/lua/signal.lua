-- Store the answer to a condition, at most once.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  signal (JSON up to its closing brace, the value first)
-- ARGV[4]  the value alone (JSON)
-- ARGV[5]  life of the pending mark in ms
-- ARGV[6]  incarnation of the run that is meant; "" = whichever there is
-- returns  {outcome, need message 0/1}; outcome: 0 stored, 1 same, 2 other, 3 ended, 4 missing, 5 not a condition
local path = ARGV[2]
local key = record(path)
local spec, phase, asks, answered, value, deletion, shared_name =
  unpack(redis.call('HMGET', key, 's', 'p', 'y', 'g', 'gv', 'd', 'h'))
if not spec or another_life(shared_name, ARGV[6]) then return { 4, 0 } end
if not asks then return { 5, 0 } end
if answered then return { value == ARGV[4] and 1 or 2, 0 } end
if terminal(phase) or deletion then return { 3, 0 } end
redis.call('HSET', key, 'g', ARGV[3] .. ',"at":' .. int(now) .. '}', 'gv', ARGV[4])
wake(key, path, now)
return { 0, need_message(ARGV[5]) }
