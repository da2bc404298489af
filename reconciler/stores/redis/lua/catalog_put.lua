-- Fill a cache key, at most once unless asked to replace, and tell who waited for it.
-- KEYS[1]  catalog entry
-- ARGV[1]  base
-- ARGV[2]  token of the reservation the outputs were made under; 0 = none
-- ARGV[3]  replace 0/1
-- ARGV[4]  oldest entry that is served, in ms; 0 = any
-- ARGV[5]  retention in ms; 0 = for ever
-- ARGV[6]  reference of the outputs (JSON)
-- ARGV[7]  source (JSON)
-- ARGV[8]  time of creation in ms; 0 = not given
-- ARGV[9]  the key as people read it
-- returns  {outcome, {owners to wake}}; outcome: 0 stored, 1 exists, 2 superseded
local entry, wait, token = KEYS[1], base .. 'wait', tonumber(ARGV[2])
if token > 0 then
  local owner, newest, ends = unpack(redis.call('HMGET', base .. 'res', 'o', 't', 'e'))
  newest = tonumber(newest or 0)
  local held = owner and tonumber(ends) > now
  if newest > token or (held and newest ~= token) then return { 2, {} } end
end
local fields = redis.pcall('HMGET', entry, 'o', 'c', 'u')
if fields.err then redis.call('DEL', entry) end -- somebody wrote over it: nobody can read it
local outputs, made, updated = unpack(fields)
local function time(text) return tonumber(string.match(text or '', '^%d+$')) end
local max_age = tonumber(ARGV[4])
updated = time(updated)
-- one without a time cannot be read, so it is none
if outputs and ARGV[3] ~= '1' and updated and (max_age == 0 or now - updated <= max_age) then return { 1, {} } end
local created = ARGV[8]
if created == '0' then created = int(time(made) or now) end
redis.call('HSET', entry, 'o', ARGV[6], 'x', ARGV[7], 'c', created, 'u', int(now), 'k', ARGV[9])
if tonumber(ARGV[5]) > 0 then
  redis.call('PEXPIRE', entry, ARGV[5])
else
  redis.call('PERSIST', entry)
end
local waiting = redis.call('ZRANGE', wait, 0, -1)
redis.call('DEL', wait)
return { 0, waiting }
