-- Choose the line a worker shall draw from next: the highest level, there the fair key that was served least, there the
-- line whose first launch has stood longest. A line is for workers that know its function and have its secrets, else for
-- those that know it, else for any.
-- KEYS[1]  heads
-- ARGV[1]  base of the queue's keys
-- ARGV[2]  worker; what it knows is read from the registry. "" = it runs whatever there is
-- ARGV[3]  msgpack: what became of the lines picked before: list of {entry, launches drawn by weight, launches left,
--          place of the first one left, when that was, µs}
-- ARGV[4]  1: the worker has just taken a ticket, so none is on its way
-- ARGV[5]  1: choose; 0: only note what became of the others
-- ARGV[6]  after how many choices the launch that has stood longest goes first
-- ARGV[7]  how long it must have stood for that, in ms
-- returns  {entry or "", how many lines have launches}
local heads, seen, most = KEYS[1], base .. 'seen', 200

local function forget(entry, level, fair)
  redis.call('ZREM', heads, entry)
  redis.call('HDEL', seen, entry)
  local of = base .. 'of:' .. level .. '/' .. fair
  redis.call('ZREM', of, entry)
  if redis.call('EXISTS', of) == 0 then redis.call('ZREM', base .. 'fair:' .. level, fair) end
end

for _, one in ipairs(cmsgpack.unpack(ARGV[3])) do
  local entry, cost, left, place, at = unpack(one)
  local level, fair = level_of(entry), fair_of(entry)
  if cost > 0 then redis.call('ZADD', base .. 'fair:' .. level, 'XX', 'INCR', cost, fair) end
  if left > 0 then
    place = int(place)
    redis.call('ZADD', heads, 'XX', place, entry)
    redis.call('ZADD', base .. 'of:' .. level .. '/' .. fair, 'XX', place, entry)
  elseif tonumber(redis.call('HGET', seen, entry) or 0) <= at then -- else something has come since
    forget(entry, level, fair)
  end
end
if ARGV[4] == '1' then redis.call('DEL', base .. 'ticket') end
local count = redis.call('ZCARD', heads)
if count == 0 then redis.call('DEL', seen, base .. 'served', base .. 'picks') end
if ARGV[5] == '0' or count == 0 or redis.call('EXISTS', base .. 'paused') == 1 then return { '', count } end

local told, known = {}, {}
local flat = ARGV[2] == '' and {} or redis.call('HGETALL', base .. 'functions')
local mine = ''
for i = 1, #flat, 2 do
  if flat[i] == ARGV[2] then mine = flat[i + 1] end
  if flat[i] ~= '' and tonumber(string.match(flat[i + 1], '^%d+')) > now then told[#told + 1] = flat[i + 1] end
end

-- Whether the worker shall draw from this line.
local function for_me(entry)
  if mine == '' then return true end
  local name = function_of(entry)
  if known[name] == nil then
    known[name] = true
    for _, mark in ipairs({ '\n', '\n!' }) do -- with its secrets, then without
      local line = mark .. name .. ' '
      if string.find(mine, line, 1, true) then break end
      for _, text in ipairs(told) do
        if string.find(text, line, 1, true) then known[name] = false end
      end
      if not known[name] then break end
    end
  end
  return known[name]
end

local function first_for_me(key)
  for _, entry in ipairs(redis.call('ZRANGE', key, 0, most - 1)) do
    if for_me(entry) then return entry end
  end
  return nil
end

-- Choices are counted until one goes to what has stood longest of what this worker can run: with each tenth choice of all,
-- two workers that choose in turn would give it to one of them for ever, and the oldest of all may be for neither.
if redis.call('INCR', base .. 'picks') >= tonumber(ARGV[6]) then
  local aged = now - tonumber(ARGV[7])
  local oldest = redis.call('ZCOUNT', heads, '-inf', aged) > 0 and first_for_me(heads)
  if oldest and tonumber(redis.call('ZSCORE', heads, oldest)) <= aged then
    redis.call('SET', base .. 'picks', 0)
    return { oldest, count }
  end
end
for level = 10, 0, -1 do
  local name = string.format('%x', level)
  local fairs = redis.call('ZRANGE', base .. 'fair:' .. name, 0, most - 1, 'WITHSCORES')
  for i = 1, #fairs, 2 do
    local entry = first_for_me(base .. 'of:' .. name .. '/' .. fairs[i])
    if entry then
      redis.call('HSET', base .. 'served', name, fairs[i + 1])
      return { entry, count }
    end
  end
end
return { '', count }
