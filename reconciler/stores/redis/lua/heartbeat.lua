-- Renew the lease of an attempt; its worker learns here that it shall stop.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  path
-- ARGV[3]  launch
-- ARGV[4]  owner
-- ARGV[5]  lease in ms
-- ARGV[6]  grace in ms after the lease until a step looks
-- ARGV[7]  incarnation of the action that was started; "" = not known
-- ARGV[8]  what the function says of its progress, JSON; "" = nothing new
-- returns  {alive 0/1, reason to stop or ""}
local path = ARGV[2]
local key = record(path)
local spec, phase, deletion, launch, owner, stop, claimed, wanted, shared_name, ended_as =
  unpack(redis.call('HMGET', key, 's', 'p', 'd', 'n', 'ao', 'ax', 'l', 'u', 'h', 'ar'))
local lives = spec and not another_life(shared_name, ARGV[7]) and not terminal(phase)
if not lives or launch ~= ARGV[3] or owner ~= ARGV[4] then return { 0, 'superseded' } end
-- how it ended is stored: there is no lease any more, and the due time is that of what comes next, as the end of a sleep
if ended_as then return { 1, '' } end
local until_ms = now + tonumber(ARGV[5])
redis.call('HSET', key, 'al', int(until_ms))
if ARGV[8] ~= '' then redis.call('HSET', key, 'pg', ARGV[3] .. ' ' .. int(now) .. ' ' .. ARGV[8]) end
-- the step that would notice a silent worker moves along, but never past what a step wants to look at
if not (claimed and tonumber(claimed) > now) then
  local at = redis.call('ZSCORE', KEYS[1], path)
  if not at or tonumber(at) > now then
    local look = until_ms + tonumber(ARGV[6])
    if wanted then look = math.min(look, tonumber(wanted)) end
    redis.call('ZADD', KEYS[1], int(look), path)
  end
end
if stop then return { 1, stop } end
if deletion then return { 1, 'aborted' } end
return { 1, '' }
