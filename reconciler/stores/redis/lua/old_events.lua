-- Look through the results channel for old events of runs that are still stored. The same run may have had another life
-- before: its events are older than the run.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  older than, in ms
-- ARGV[3]  most events to look at
-- ARGV[4]  behind which position; empty: behind what was stored
-- returns  {last position, 1 if there is more, creation time of the oldest run or 0, {position, event}...}
local before = tonumber(ARGV[2])
local border = int(before - 1) .. '-4294967295' -- the last position before: what comes at the time itself is not looked at
local first = redis.call('ZRANGE', base .. 'runs', 0, 0, 'WITHSCORES')
local oldest = tonumber(first[2] or 0)
if oldest == 0 or oldest >= before then return { border, 0, int(oldest), {} } end

local created = {}
local function wanted(id, event)
  local project, domain, name = string.match(event, '^{"id":%["([^"]*)","([^"]*)","([^"]*)"')
  if not project then return false end
  local run = project .. '/' .. domain .. '/' .. name
  if created[run] == nil then created[run] = tonumber(redis.call('ZSCORE', base .. 'runs', run) or 0) end
  return created[run] > 0 and tonumber(string.match(id, '^%d+')) >= created[run]
end

local from = ARGV[4] ~= '' and ARGV[4] or redis.call('GET', base .. 'spilled') or '0-0'
local entries = redis.call('XRANGE', base .. 'events', '(' .. from, '(' .. ARGV[2] .. '-0', 'COUNT', ARGV[3])
local found = {}
for _, entry in ipairs(entries) do
  if wanted(entry[1], entry[2][2]) then found[#found + 1] = { entry[1], entry[2][2] } end
end
if #entries < tonumber(ARGV[3]) then return { border, 0, int(oldest), found } end
return { entries[#entries][1], 1, int(oldest), found }
