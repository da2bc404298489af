-- Shared helpers, put before every script.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index of the shard, a catalog entry or units of a quota (routes the script to its slot)
-- ARGV[1]  base: what all keys of the shard, cache key or resource start with
local base = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local entering = {} -- by line: place, path, place, path ... of the launches that `stand` noted
-- when a line was seen, µs: within one ms a line may be drawn empty and be opened again
local stamp = string.format('%.0f', clock[1] * 1000000 + clock[2])

local function int(n) return string.format('%.0f', n) end
local function record(path) return base .. 'a:' .. path end
local function run_of(path) return string.match(path, '^(.*)/[^/]*$') end
local function name_of(path) return string.match(path, '([^/]*)$') end
-- ActionPhase: SUCCEEDED, FAILED, ABORTED, TIMED_OUT, RECOVERED
local function terminal(p) local n = tonumber(p or 1); return (n >= 5 and n <= 8) or n == 10 end

-- Whether a record's finalizers, separated by blanks, hold this one; those of other controllers are theirs.
local function has(finalizers, mine)
  return finalizers and string.find(' ' .. finalizers .. ' ', ' ' .. mine .. ' ', 1, true) ~= nil
end

-- Whether a record belongs to another incarnation of its run than the caller knows: names and launches come again.
-- The incarnation stands behind the digest in the name of the shared part.
local function another_life(shared_name, known)
  return known ~= '' and string.sub(shared_name or '', 17) ~= known
end

-- One command for many members of a sorted set: a call per member is what a script spends its time on.
local function zadd_all(key, members)
  for i = 1, #members, 1000 do
    redis.call('ZADD', key, unpack(members, i, math.min(i + 999, #members)))
  end
end

local function zrem_all(key, members)
  for i = 1, #members, 1000 do
    redis.call('ZREM', key, unpack(members, i, math.min(i + 999, #members)))
  end
end

-- While a crowd is due, what becomes due now would wait behind all of it: note the first few of a script, of which each claim
-- takes some before their turn. A note may be lost or stale; the due index alone says what is due.
local CROWD, FEW = 100, 10 -- timing.py
local noted, crowded = 0, nil
local function note_next(path)
  if noted >= FEW then return end
  if crowded == nil then crowded = redis.call('ZCOUNT', base .. 'due', '-inf', int(now)) >= CROWD end
  if crowded then
    noted = noted + 1
    redis.call('ZADD', base .. 'next', 'NX', int(now), path)
  end
end

-- Make an action due, never later than it was; while a claim is out, remember the request for its end. Remembered also
-- once its lease has run out: a step that was slow may still commit, and writes its own due time.
local function wake_known(key, path, at, lease_ends, woken, wanted, owner)
  if lease_ends and (not woken or at < tonumber(woken)) then redis.call('HSET', key, 'w', int(at)) end
  if not lease_ends or tonumber(lease_ends) <= now then
    redis.call('ZADD', base .. 'due', 'LT', int(at), path)
    if at <= now then note_next(path) end
    -- heartbeats move the due time of a running attempt, but never past this
    if at > now and owner and (not wanted or at < tonumber(wanted)) then redis.call('HSET', key, 'u', int(at)) end
  end
end
local function wake(key, path, at) wake_known(key, path, at, unpack(redis.call('HMGET', key, 'l', 'w', 'u', 'ao'))) end

-- Tell who stands by on this channel, without a message; whether he hears it. One that is dead does not.
local function heard(channel, text)
  local ears = redis.pcall('PUBLISH', channel, text)
  return type(ears) == 'number' and ears > 0
end

-- Whether nobody listens on a channel: its line is broken, or leads to another server, as after a failover.
local function deaf(channel) return redis.call('PUBSUB', 'NUMSUB', channel)[2] == 0 end

-- Whether the caller has to send a wake-up message: nobody else did within ttl ms, and nobody stands by (hear.lua).
local function need_message(ttl)
  if not redis.call('SET', base .. 'pending', '1', 'NX', 'PX', ttl) then return 0 end
  local channel = redis.call('GET', base .. 'hears')
  return channel and heard(channel, string.match(base, '{(%d+)}')) and 0 or 1
end

-- Earliest due time, and whether the caller has to send the countdown message for it.
-- At most one countdown per shard is armed; a far time is left to the resync sweep.
local function next_due(horizon)
  local head = redis.call('ZRANGE', base .. 'due', 0, 0, 'WITHSCORES')
  if not head[1] then return '0', 0 end
  local at = tonumber(head[2])
  if at <= now or at > now + horizon then return int(at), 0 end
  local armed = tonumber(redis.call('GET', base .. 'armed') or 0)
  if armed > now and armed <= at then return int(at), 0 end
  redis.call('SET', base .. 'armed', int(at), 'PX', int(at - now + 10000))
  return int(at), 1
end

-- Give the lease of a launch to a worker. A step that holds the action looks at the lease when it commits.
-- `together`: how many were drawn at once, when that is more than one.
local function begin(key, path, owner, until_ms, grace, claimed, together)
  local sets = { 'ao', owner, 'al', int(until_ms), 'as', int(now) }
  if together then sets[#sets + 1], sets[#sets + 2] = 'ab', int(together) end
  if not (claimed and tonumber(claimed) > now) then
    local at = redis.call('ZSCORE', base .. 'due', path)
    if at then sets[#sets + 1], sets[#sets + 2] = 'u', int(tonumber(at)) end
    redis.call('ZADD', base .. 'due', 'LT', int(until_ms + grace), path)
  end
  redis.call('HDEL', key, 'ah', 'nl', 'ab')
  redis.call('HSET', key, unpack(sets))
end

-- Take a launch out of the line it stands in. A line without launches is known no more.
local function leave(line, path)
  redis.call('ZREM', base .. 'line:' .. line, path)
  if redis.call('EXISTS', base .. 'line:' .. line) == 0 then redis.call('SREM', base .. 'lines', line) end
end

-- A line at the level an action was given last: that may be after the line was chosen. A relaunch stays ahead of all.
local function at_level(line, priority)
  local queue, level, rest = string.match(line, '^([^/]*)/(%w)(.*)$')
  if not queue or level == 'a' or not priority then return line end
  return queue .. '/' .. priority .. rest
end

-- Note that a launch enters a line at a place: when its turn is, ms, among the launches of the line.
local function enter(path, line, place)
  entering[line] = entering[line] or {}
  table.insert(entering[line], place)
  table.insert(entering[line], path)
end

-- The same, and write it down. `priority`: field pr.
local function stand(key, path, line, place, priority)
  line = at_level(line, priority)
  redis.call('HSET', key, 'nl', line, 'np', place)
  enter(path, line, place)
end

-- Enter what was noted; the lines that were empty before: {line, place of its first launch, when}...
local function enter_lines()
  local opened = {}
  for line, members in pairs(entering) do
    local key = base .. 'line:' .. line
    local empty = redis.call('EXISTS', key) == 0
    zadd_all(key, members)
    if empty then
      redis.call('SADD', base .. 'lines', line)
      opened[#opened + 1] = { line, redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2], stamp }
    end
  end
  return opened
end

-- Parts of an entry of the heads, `<shard>/<level><- or !>/<fair key>/<function>`.
local function level_of(entry) return string.match(entry, '^%d+/(%w)') end
local function fair_of(entry) return string.match(entry, '^%d+/[^/]*/([^/]*)/') end
local function function_of(entry) return string.match(entry, '^%d+/[^/]*/[^/]*/(.*)$') end

-- Whether somebody has to send a ticket: there are launches, none is on its way, and nobody stands by (stand_by.lua). Of those
-- who do, the last one is told, whose caches are warm; he stands by no more.
local function need_ticket(heads, life)
  if redis.call('EXISTS', heads) == 0 or redis.call('EXISTS', base .. 'paused') == 1 then return 0 end
  if not redis.call('SET', base .. 'ticket', '1', 'NX', 'PX', life) then return 0 end
  local idle = base .. 'idle'
  local last = redis.call('ZRANGE', idle, -1, -1, 'WITHSCORES')
  while last[1] do
    redis.call('ZREM', idle, last[1])
    if tonumber(last[2]) > now and heard(last[1], '') then return 0 end
    last = redis.call('ZRANGE', idle, -1, -1, 'WITHSCORES')
  end
  return 1
end

-- Record how an attempt ended, and make its action due.
local function end_attempt(key, path, outcome, lease_ends, woken)
  redis.call('HDEL', key, 'al', 'u')
  redis.call('HSET', key, 'ar', outcome .. ',"at":' .. int(now) .. '}')
  wake_known(key, path, now, lease_ends, woken)
end

-- What a commit reads of a record.
local COMMITTED = { 'k', 'p', 'w', 'e', 'l', 'v', 'b', 'nl', 'h', 'as', 'ao', 'ar', 'al', 'n', 'np', 'pr' }

-- Attempts that end with their write, by its place in the list: what the commit would read had they been finished and claimed
-- before, or the answer where nothing is to be written. Only conclude.lua has any.
local ends_here = {}
