-- What was published of a function: by the release that came last of those that run, else by the last one that did.
-- KEYS[1]  releases
-- ARGV[1]  the same
-- ARGV[2]  name of the function
-- returns  {document}; nothing is published of it: {'', name of another function...}
local flat, releases = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #flat, 2 do
  local ends, since = string.match(flat[i + 1], '^(%d+) (%d+)$')
  ends, since = tonumber(ends or 0), tonumber(since or 0)
  local runs = ends > now
  releases[#releases + 1] = { name = flat[i], runs = runs and 1 or 0, at = runs and since or ends }
end
table.sort(releases, function(a, b)
  if a.runs ~= b.runs then return a.runs > b.runs end
  if a.at ~= b.at then return a.at > b.at end
  return a.name > b.name
end)
for _, release in ipairs(releases) do
  local document = redis.call('HGET', base .. ':' .. release.name, ARGV[2])
  if document then return { document } end
end
local found = { '' }
for _, release in ipairs(releases) do
  for _, name in ipairs(redis.call('HKEYS', base .. ':' .. release.name)) do found[#found + 1] = name end
end
return found
