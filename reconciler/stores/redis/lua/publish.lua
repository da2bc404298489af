-- Say what is to be known of the functions of a release, or only that it runs: its documents are sent once.
-- A hash of releases, value `<end of its life> <since when it runs>`, and one of documents for each, its name behind.
-- KEYS[1]  releases
-- ARGV[1]  the same
-- ARGV[2]  release
-- ARGV[3]  life in ms
-- ARGV[4]  how long it is kept after that, ms
-- ARGV[5]  most releases
-- ARGV[6…] name and document of each function; none: only that it runs
-- returns  1; 0 = no document is kept: send them
local documents, life, keep = base .. ':' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 6, #ARGV, 1000 do
  redis.call('HSET', documents, unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if redis.call('EXISTS', documents) == 0 then return 0 end
redis.call('PEXPIRE', documents, life + keep)
local flat, since, others = redis.call('HGETALL', KEYS[1]), now, {}
for i = 1, #flat, 2 do
  local ends, began = string.match(flat[i + 1], '^(%d+) (%d+)$')
  ends = tonumber(ends or 0)
  if flat[i] ~= ARGV[2] then
    others[#others + 1] = { ends = ends, name = flat[i] }
  elseif ends > now then
    since = tonumber(began)
  end
end
table.sort(others, function(a, b) return a.ends > b.ends end)
for i, other in ipairs(others) do
  if i >= tonumber(ARGV[5]) or other.ends + keep <= now then
    redis.call('HDEL', KEYS[1], other.name)
    redis.call('DEL', base .. ':' .. other.name)
  end
end
redis.call('HSET', KEYS[1], ARGV[2], int(now + life) .. ' ' .. int(since))
redis.call('PEXPIRE', KEYS[1], life + keep)
return 1
