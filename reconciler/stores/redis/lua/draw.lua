-- Draw the next launches of a line: each with its lease, and out of the line. At most one worker ever gets a launch.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  line
-- ARGV[3]  owner
-- ARGV[4]  most launches
-- ARGV[5]  lease in ms
-- ARGV[6]  grace in ms after the lease until a step looks
-- ARGV[7]  part of the line that one draw takes at most: one in so many …
-- ARGV[8]  … but of a short line so many all the same
-- returns  {now, launches left in the line, place of the first one left, {path, flat fields, {total, open, failed children}}...,
--           when that was, µs}
local line, owner, drawn = base .. 'line:' .. ARGV[2], ARGV[3], {}
local until_ms = now + tonumber(ARGV[5])

-- Take one, unless it has left the line otherwise.
local function take(path)
  local key = record(path)
  local spec, phase, deletion, stop, taken, stands, claimed, expires, has_children =
    unpack(redis.pcall('HMGET', key, 's', 'p', 'd', 'ax', 'ao', 'nl', 'l', 'xp', 'b'))
  if not spec or stands ~= ARGV[2] then return end
  if terminal(phase) or deletion or stop or taken then
    redis.call('HDEL', key, 'nl') -- or a change of its priority would put it back into a line
    return
  end
  if expires and tonumber(expires) <= now then
    redis.call('HDEL', key, 'nl')
    return wake(key, path, now)
  end
  drawn[#drawn + 1] = { path, key, has_children, claimed }
end

local part = math.ceil(redis.call('ZCARD', line) / tonumber(ARGV[7]))
local want = math.min(tonumber(ARGV[4]), math.max(tonumber(ARGV[8]), part))
for _ = 1, 10 do
  local paths = redis.call('ZRANGE', line, 0, want - #drawn - 1)
  for _, path in ipairs(paths) do take(path) end
  zrem_all(line, paths)
  if #paths == 0 or #drawn >= want then break end
end
for i, one in ipairs(drawn) do
  local path, key, has_children, claimed = unpack(one)
  begin(key, path, owner, until_ms, tonumber(ARGV[6]), claimed, #drawn > 1 and #drawn)
  local kids, name = false, name_of(path)
  if has_children then
    kids = redis.call('HMGET', base .. 'run:' .. run_of(path), 't:' .. name, 'o:' .. name, 'f:' .. name)
  end
  drawn[i] = { path, redis.call('HGETALL', key), kids }
end
local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
if not head[1] then redis.call('SREM', base .. 'lines', ARGV[2]) end
return { int(now), redis.call('ZCARD', line), head[2] or '0', drawn, stamp }
