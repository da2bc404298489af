-- Take due actions for one step: a lease and a higher fencing token each, and the finalizer for tasks, beside those of others.
-- Field la counts the claims in a row before this one whose lease ended without a commit.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  lease in ms
-- ARGV[3]  most actions to take
-- ARGV[4]  1: first claim of a step, clears the pending mark
-- ARGV[5]  msgpack: paths to take even when they are not due
-- ARGV[6]  finalizer
-- ARGV[7]  horizon of countdowns in ms
-- returns  {now, next due, arm 0/1, {path, token, flat fields, {total, open, failed children}, 1 when its launch stands in a line}...,
--           due time of the oldest one that was due, or nothing, paths whose record is foreign data}
if ARGV[4] == '1' then redis.call('DEL', base .. 'pending') end
local lease, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local until_ms = int(now + lease)
local claimed, seen, dues, oldest, foreign = {}, {}, {}, false, {}

local function take(path, named)
  if seen[path] then return end
  seen[path] = true
  local key = record(path)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    -- somebody wrote over it: looked at again after a lease, and the rest of the shard goes on
    redis.call('ZADD', KEYS[1], until_ms, path)
    foreign[#foreign + 1] = path
    return
  end
  if #flat == 0 then
    redis.call('ZREM', KEYS[1], path)
    return
  end
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  if r.l and tonumber(r.l) > now then
    if named then wake(key, path, now) else redis.call('ZADD', KEYS[1], r.l, path) end
    return
  end
  local ours = has(r.f, ARGV[6])
  if terminal(r.p) and not ours then
    redis.call('ZREM', KEYS[1], path)
    return
  end
  local token = (tonumber(r.k or 0)) + 1
  if ours or r.y or r.d then
    redis.call('HSET', key, 'k', int(token), 'l', until_ms)
  else
    local finalizers = r.f and r.f .. ' ' .. ARGV[6] or ARGV[6]
    redis.call('HSET', key, 'k', int(token), 'l', until_ms, 'f', finalizers)
    flat[#flat + 1] = 'f'
    flat[#flat + 1] = finalizers
  end
  -- a commit would have removed the lease: the step that held it died, or took too long
  if r.l then
    local abandoned = int(tonumber(r.la or 0) + 1)
    redis.call('HSET', key, 'la', abandoned)
    flat[#flat + 1] = 'la'
    flat[#flat + 1] = abandoned
  elseif r.la then
    redis.call('HDEL', key, 'la')
    flat[#flat + 1] = 'la'
    flat[#flat + 1] = '0'
  end
  -- noted while a step held it that died: this claim serves it, unless it is for later
  if r.w and tonumber(r.w) <= now then redis.call('HDEL', key, 'w') end
  dues[#dues + 1] = until_ms
  dues[#dues + 1] = path
  local kids, stands = false, 0
  if r.b then
    local name = name_of(path)
    kids = redis.call('HMGET', base .. 'run:' .. run_of(path), 't:' .. name, 'o:' .. name, 'f:' .. name)
  end
  if r.nl and redis.call('ZSCORE', base .. 'line:' .. r.nl, path) then stands = 1 end
  claimed[#claimed + 1] = { path, int(token), flat, kids, stands }
end

-- Up to half of what is left of the batch: those that came last while a crowd was due. The longest waiting have the rest.
local function take_next(room)
  local paths = room > 0 and redis.call('ZRANGE', base .. 'next', 0, room - 1) or {}
  if #paths == 0 then return end
  redis.call('ZREM', base .. 'next', unpack(paths))
  for _, path in ipairs(paths) do
    local at = redis.call('ZSCORE', KEYS[1], path)
    if at and tonumber(at) <= now then take(path, false) end
  end
end

for _, path in ipairs(cmsgpack.unpack(ARGV[5])) do take(path, true) end
local room = limit - #claimed
if room > 0 then
  local due = redis.call('ZRANGE', KEYS[1], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
  oldest = due[2] or false
  if #due == 2 * room then take_next(math.floor(room / 2)) else redis.call('DEL', base .. 'next') end
  for i = 1, #due, 2 do
    if #claimed < limit then take(due[i], false) end
  end
end
zadd_all(KEYS[1], dues)
local at, arm = '0', 0
if #claimed == 0 then at, arm = next_due(tonumber(ARGV[7])) end
return { int(now), at, arm, claimed, oldest, foreign }
