-- Say up to where old events that are wanted lie in the archive; never less than what was said before.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  position
local function less(a, b)
  local at, n = string.match(a, '^(%d+)-(%d+)$')
  local to, m = string.match(b, '^(%d+)-(%d+)$')
  at, to = tonumber(at), tonumber(to)
  return at < to or (at == to and tonumber(n) < tonumber(m))
end

local known = redis.call('GET', base .. 'spilled')
if not known or less(known, ARGV[2]) then redis.call('SET', base .. 'spilled', ARGV[2]) end
return 0
