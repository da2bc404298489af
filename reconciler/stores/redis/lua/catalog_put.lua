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
  local r = redis.call('HMGET', base .. 'res', 'o', 't', 'e')
  local newest = tonumber(r[2] or 0)
  local held = r[1] and tonumber(r[3]) > now
  if newest > token or (held and newest ~= token) then return { 2, {} } end
end
local e = redis.pcall('HMGET', entry, 'o', 'c', 'u')
if e.err then -- somebody wrote over it: nobody can read it
  redis.call('DEL', entry)
  e = {}
end
local function time(text) return tonumber(string.match(text or '', '^%d+$')) end
local updated, max_age = time(e[3]), tonumber(ARGV[4])
-- one without a time cannot be read, so it is none
if e[1] and ARGV[3] ~= '1' and updated and (max_age == 0 or now - updated <= max_age) then return { 1, {} } end
local created = ARGV[8]
if created == '0' then created = int(time(e[2]) or now) end
redis.call('HSET', entry, 'o', ARGV[6], 'x', ARGV[7], 'c', created, 'u', int(now), 'k', ARGV[9])
if tonumber(ARGV[5]) > 0 then
  redis.call('PEXPIRE', entry, ARGV[5])
else
  redis.call('PERSIST', entry)
end
local waiting = redis.call('ZRANGE', wait, 0, -1)
redis.call('DEL', wait)
return { 0, waiting }
