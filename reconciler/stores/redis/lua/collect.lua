-- Forget terminal actions that ended long enough ago; never one that is owed clean-up,
-- has open children, or has a parent that has not ended.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  ended before, in ms
-- ARGV[3]  most actions of one call
-- ARGV[4]  offset: entries an earlier call of this pass kept
-- returns  {{path, flat fields}..., already gone, kept, {run, flat digests and shared specs}... of forgotten runs}
local function live(path)
  local p = redis.call('HMGET', record(path), 's', 'p')
  return p[1] and not terminal(p[2])
end

local done = base .. 'done'
local paths = redis.call('ZRANGE', done, '-inf', '(' .. ARGV[2], 'BYSCORE', 'LIMIT', tonumber(ARGV[4]), tonumber(ARGV[3]))
local deleted, gone, kept, runs = {}, 0, 0, {}
for _, path in ipairs(paths) do
  local key, run, name = record(path), run_of(path), name_of(path)
  local flat = redis.call('HGETALL', key)
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  local counters = base .. 'run:' .. run
  if #flat == 0 then
    redis.call('ZREM', done, path)
    gone = gone + 1
  elseif r.f then
    wake(key, path, now)
    kept = kept + 1
  elseif r.r and live(run .. '/' .. r.r) then
    -- the parent may still read this child's result
    kept = kept + 1
  elseif r.b and tonumber(redis.call('HGET', counters, 'o:' .. name) or 0) > 0 then
    kept = kept + 1
  else
    redis.call('DEL', key)
    redis.call('ZREM', done, path)
    redis.call('ZREM', KEYS[1], path)
    redis.call('ZREM', base .. 'tree:' .. run, (r.r or '') .. '/' .. name)
    redis.call('HINCRBY', counters, r.p, -1)
    if r.b then redis.call('HDEL', counters, 't:' .. name, 'o:' .. name, 'f:' .. name) end
    if redis.call('EXISTS', base .. 'tree:' .. run) == 0 then
      runs[#runs + 1] = { run, redis.call('HGETALL', base .. 'shared:' .. run) }
      redis.call('DEL', counters, base .. 'shared:' .. run)
      redis.call('ZREM', base .. 'runs', run)
    end
    deleted[#deleted + 1] = { path, flat }
  end
end
return { deleted, gone, kept, runs }
