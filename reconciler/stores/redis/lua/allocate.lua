-- Lease units of one resource to a token, first come first served; asked again, renew what it holds.
-- KEYS[1]  held: zset of units, `<n>:<token>` → end of the lease
-- ARGV[1]  base of the resource's keys
-- ARGV[2]  token
-- ARGV[3]  owner: path of the action
-- ARGV[4]  units
-- ARGV[5]  quota in units; below 0: what is asked for is in use already, lease it whatever the quota says
-- ARGV[6]  lease in ms
-- ARGV[7]  patience in ms: how long a token stays in line without asking again
-- ARGV[8]  most units of the owner's project, -1 = any
-- ARGV[9]  most units of the owner's project and domain, -1 = any
-- returns  {outcome, when to ask again}; outcome: 0 granted, 1 exhausted, 2 a cap is reached
local held, waiting, capped = KEYS[1], base .. 'waiting', base .. 'capped'
local asked, owners = base .. 'asked', base .. 'owners'
local token, owner, units, quota = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease, patience = tonumber(ARGV[6]), tonumber(ARGV[7])

local function units_of(t) return tonumber(string.match(redis.call('HGET', owners, t) or '1', '^%d+')) end

local function leave_lines(t)
  redis.call('ZREM', waiting, t)
  redis.call('ZREM', capped, t)
  redis.call('ZREM', asked, t)
end

-- a resource nobody asks for any more leaves nothing behind
local function keep()
  for _, key in ipairs({ held, waiting, capped, asked, owners }) do
    redis.call('PEXPIRE', key, int(math.max(lease, patience) * 2))
  end
end

local function grant()
  for n = 1, units do redis.call('ZADD', held, int(now + lease), int(n) .. ':' .. token) end
  redis.call('HSET', owners, token, int(units) .. ' ' .. owner)
  leave_lines(token)
  keep()
  return { 0, '0' }
end

local function stay(line, other, since, outcome, again)
  redis.call('ZADD', line, since, token)
  redis.call('ZREM', other, token)
  redis.call('ZADD', asked, int(now + patience), token)
  redis.call('HSET', owners, token, int(units) .. ' ' .. owner)
  keep()
  return { outcome, int(again) }
end

local function in_use(scope)
  local n = 0
  for _, unit in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    local entry = redis.call('HGET', owners, string.match(unit, ':(.*)$')) or ''
    local path = string.match(entry, ' (.*)$') or ''
    if string.sub(path, 1, #scope) == scope then n = n + 1 end
  end
  return n
end

local function over_cap()
  local project = string.match(owner, '^[^/]*/')
  local domain = string.match(owner, '^[^/]*/[^/]*/')
  for i, scope in ipairs({ project, domain }) do
    local cap = tonumber(ARGV[7 + i])
    if cap >= 0 and in_use(scope) + units > cap then return true end
  end
  return false
end

-- what nobody renewed is free; who has not asked for long has gone
for _, unit in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', int(now))) do
  redis.call('ZREM', held, unit)
  redis.call('HDEL', owners, string.match(unit, ':(.*)$'))
end
for _, t in ipairs(redis.call('ZRANGEBYSCORE', asked, '-inf', int(now), 'LIMIT', 0, 1000)) do
  leave_lines(t)
  redis.call('HDEL', owners, t)
end

if redis.call('ZSCORE', held, '1:' .. token) then
  units = units_of(token)
  return grant()
end
if quota < 0 then return grant() end

local since = redis.call('ZSCORE', waiting, token) or redis.call('ZSCORE', capped, token) or int(now)
if over_cap() then return stay(capped, waiting, since, 2, now + lease) end
-- whoever came first goes first, also when it needs more than is free
redis.call('ZADD', waiting, since, token)
local rank = redis.call('ZRANK', waiting, token)
local left = quota - redis.call('ZCARD', held) - units
if rank > 0 and left >= 0 then
  for _, other in ipairs(redis.call('ZRANGE', waiting, 0, int(math.min(rank - 1, left)))) do
    left = left - units_of(other)
  end
end
if left >= 0 then return grant() end
-- those next in line look as soon as a lease may run out; the others have time
local again = now + lease
if rank < quota then
  local first = redis.call('ZRANGE', held, 0, 0, 'WITHSCORES')
  if first[2] then again = math.min(again, tonumber(first[2]) + 1) end
end
return stay(waiting, capped, since, 1, again)
