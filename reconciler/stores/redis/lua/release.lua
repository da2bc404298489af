-- Give back what a token holds, or its place in line.
-- KEYS[1]  held: zset of units, `<n>:<token>` → end of the lease
-- ARGV[1]  base of the resource's keys
-- ARGV[2]  token
-- ARGV[3]  quota in units; -1 = unknown
-- returns  paths of the actions that may get something now, longest-waiting first
local held, waiting, capped = KEYS[1], base .. 'waiting', base .. 'capped'
local asked, owners = base .. 'asked', base .. 'owners'
local entry = redis.call('HGET', owners, ARGV[2])
if not entry then return {} end
local count, owner = string.match(entry, '^(%d+) (.*)$')
local units, freed = tonumber(count), 0
for n = 1, units do freed = freed + redis.call('ZREM', held, int(n) .. ':' .. ARGV[2]) end
redis.call('ZREM', waiting, ARGV[2])
redis.call('ZREM', capped, ARGV[2])
redis.call('ZREM', asked, ARGV[2])
redis.call('HDEL', owners, ARGV[2])

local free = tonumber(ARGV[3])
if free >= 0 then free = free - redis.call('ZCOUNT', held, '(' .. int(now), '+inf') else free = units end
local wake = {}
-- some in line may have died: they are passed over, but not without end
local most = math.max(free, 0) + 100
for _, token in ipairs(redis.call('ZRANGE', waiting, 0, int(most))) do
  if tonumber(redis.call('ZSCORE', asked, token) or 0) > now then
    local want, path = string.match(redis.call('HGET', owners, token) or '', '^(%d+) (.*)$')
    free = free - tonumber(want or 1)
    if free < 0 then break end
    wake[#wake + 1] = path
  end
end
-- room below the cap of a project helps that project alone
local project = string.match(owner, '^[^/]*/')
for _, token in ipairs(redis.call('ZRANGE', capped, 0, 999)) do
  if freed <= 0 then break end
  local path = string.match(redis.call('HGET', owners, token) or '', ' (.*)$') or ''
  if string.sub(path, 1, #project) == project then
    wake[#wake + 1] = path
    freed = freed - 1
  end
end
return wake
