-- Move launches that stand in the lines of one queue to those of another one, in their places.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  queue they stand in
-- ARGV[3]  queue they go to
-- ARGV[4]  most launches of one call
-- returns  {now, moved, opened lines: {line, place of its first launch}...}
local moved, limit = 0, tonumber(ARGV[4])
for _, line in ipairs(redis.call('SMEMBERS', base .. 'lines')) do
  local queue, rest = string.match(line, '^([^/]*)(/.*)$')
  if queue == ARGV[2] and moved < limit then
    local members = redis.call('ZRANGE', base .. 'line:' .. line, 0, limit - moved - 1, 'WITHSCORES')
    for i = 1, #members, 2 do
      local key = record(members[i])
      leave(line, members[i])
      local stands, priority = unpack(redis.pcall('HMGET', key, 'nl', 'pr'))
      if stands == line then stand(key, members[i], ARGV[3] .. rest, members[i + 1], priority) end
      moved = moved + 1
    end
  end
end
return { int(now), moved, enter_lines() }
