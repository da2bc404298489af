-- Forget terminal actions that ended long enough ago; never one that is owed clean-up,
-- has children that stay, or is below one that has not ended, or not long enough ago; none of a run whose records are held.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  ended before, in ms
-- ARGV[3]  most actions of one call
-- ARGV[4]  offset: entries an earlier call of this pass kept
-- ARGV[5]  'all'; 'look' forgets nothing and only says what would go; 'noted' forgets what has a garbage note
-- ARGV[6]  1: forgets only actions of runs that are in the archive
-- ARGV[7]  a run, or '': of all; one that has ended as a whole is sealed, and its actions go whenever they ended
-- ARGV[8]  its incarnation, or ''
-- returns  {{path, flat fields}..., already gone, kept, {run, flat names and shared specs}... of forgotten runs}
local done = base .. 'done'
local offset, limit = tonumber(ARGV[4]), tonumber(ARGV[3])
local at_once = ARGV[7] ~= ''

-- whoever reads an ancestor may read what is below it: the tree goes when its top may go
local function wanted(run, parent)
  while parent do
    local path = run .. '/' .. parent
    local fields = redis.pcall('HMGET', record(path), 's', 'p', 'r')
    if fields.err then return true end
    local spec, phase, above = unpack(fields)
    if not spec then return false end
    if not terminal(phase) then return true end
    local ended = redis.call('ZSCORE', done, path)
    if ended and not at_once and tonumber(ended) >= tonumber(ARGV[2]) then return true end
    parent = above
  end
  return false
end

-- Name of an action, or a run, in this incarnation.
local function note_of(path, shared_name)
  local incarnation = string.sub(shared_name or '', 17)
  return incarnation == '' and path or path .. '@' .. incarnation
end

local held = {}

-- Whether a run is made of this one just now, which reads its records.
local function is_held(run, shared_name)
  local life = note_of(run, shared_name)
  if held[life] == nil then
    held[life] = false
    for _, ends in ipairs(redis.call('HVALS', base .. 'holds:' .. life)) do
      if tonumber(ends) > now then held[life] = true end
    end
  end
  return held[life]
end

-- Whether something below it is there: a name that comes again while part of its tree stays would take that part for its own.
local function is_above(run, name)
  local tree = base .. 'tree:' .. run
  while true do
    local member = redis.call('ZRANGE', tree, '[' .. name .. '/', '(' .. name .. '0', 'BYLEX', 'LIMIT', 0, 1)[1]
    if not member then return false end
    if redis.call('EXISTS', record(run .. '/' .. name_of(member))) == 1 then return true end
    redis.call('ZREM', tree, member) -- deleted by somebody else
  end
end

-- Those of one run, to which nothing can be added from now on; none while one of them is live.
local function of_run(run, incarnation)
  local tree, found = base .. 'tree:' .. run, {}
  local known = redis.pcall('HMGET', base .. 'run:' .. run, 'z', 'i', '0', '1', '2', '3', '4', '9')
  if known.err or (known[2] or '') ~= incarnation or redis.call('EXISTS', tree) == 0 then return found end
  for i = 3, 8 do
    if known[i] and tonumber(known[i]) > 0 then return found end
  end
  if not known[1] then redis.call('HSET', base .. 'run:' .. run, 'z', '1') end
  for _, member in ipairs(redis.call('ZRANGE', tree, offset, offset + limit - 1)) do
    found[#found + 1] = run .. '/' .. name_of(member)
  end
  return found
end

-- The shared parts a run uses, which it gives up; one that no other run of the shard uses goes. An earlier release stored
-- them with the run.
local function give_up_parts(run)
  local flat, counters = redis.call('HGETALL', base .. 'shared:' .. run), redis.call('HGETALL', base .. 'run:' .. run)
  local incarnation = redis.call('HGET', base .. 'run:' .. run, 'i') or ''
  for i = 1, #counters, 2 do
    local digest = string.match(counters[i], '^h:(.*)$')
    if digest then
      flat[#flat + 1] = digest .. incarnation
      flat[#flat + 1] = redis.call('HGET', base .. 'parts', digest) or ''
      if redis.call('HINCRBY', base .. 'uses', digest, -1) <= 0 then
        redis.call('HDEL', base .. 'uses', digest)
        redis.call('HDEL', base .. 'parts', digest)
      end
    end
  end
  return flat
end

local paths = at_once and of_run(ARGV[7], ARGV[8])
  or redis.call('ZRANGE', done, '-inf', '(' .. ARGV[2], 'BYSCORE', 'LIMIT', offset, limit)
local deleted, gone, kept, runs, above = {}, 0, 0, {}, {}

-- Forgets one that may go, and counts it.
local function see(path)
  local key, run, name = record(path), run_of(path), name_of(path)
  local flat = redis.pcall('HGETALL', key)
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  local counters = base .. 'run:' .. run
  if flat.err then -- somebody wrote over it: not ours to delete
    kept = kept + 1
  elseif #flat == 0 then
    redis.call('ZREM', done, path)
    gone = gone + 1
  elseif r.f then
    if ARGV[5] ~= 'look' then wake(key, path, now) end
    kept = kept + 1
  elseif wanted(run, r.r) then
    kept = kept + 1
  elseif r.b and tonumber(redis.call('HGET', counters, 'o:' .. name) or 0) > 0 then
    kept = kept + 1
  elseif is_held(run, r.h) then
    kept = kept + 1
  elseif ARGV[6] == '1' and redis.call('HGET', counters, 'z') ~= '2' then
    kept = kept + 1
  elseif ARGV[5] == 'look' then -- its children may be among those that go
    deleted[#deleted + 1] = { path, {} }
  elseif ARGV[5] == 'noted' and redis.call('HEXISTS', base .. 'garbage', note_of(path, r.h)) == 0 then
    kept = kept + 1
  elseif r.b and is_above(run, name) then
    above[#above + 1] = path
  else
    redis.call('DEL', key, base .. 'steps:' .. path, base .. 'ended:' .. path)
    redis.call('ZREM', done, path)
    redis.call('ZREM', KEYS[1], path)
    redis.call('ZREM', base .. 'tree:' .. run, (r.r or '') .. '/' .. name)
    redis.call('HINCRBY', counters, r.p, -1)
    if r.b then redis.call('HDEL', counters, 't:' .. name, 'o:' .. name, 'f:' .. name) end
    if redis.call('EXISTS', base .. 'tree:' .. run) == 0 then
      runs[#runs + 1] = { run, give_up_parts(run) }
      redis.call('DEL', counters, base .. 'shared:' .. run)
      redis.call('ZREM', base .. 'runs', run)
    end
    deleted[#deleted + 1] = { path, flat }
  end
end

for _, path in ipairs(paths) do see(path) end
for _ = 1, 10 do -- of an abort those above ended first; levels that are left go with the next pass
  local again = above
  above = {}
  for i = #again, 1, -1 do see(again[i]) end
  if #above == #again then break end
end
return { deleted, gone, kept + #above, runs }
