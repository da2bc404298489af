-- Store new actions of one shard, each due now and with its first event. The first action of a run decides the
-- incarnation of all its actions; the name of a shared part is a digest of 16 characters and the incarnation.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {path, parent name or "", flat list of fields, event JSON up to its closing brace,
--          phase, name of the shared part, shared bytes or "", when the first launch may be, when it ends unless it has
--          begun: ms since the epoch, 0 = none, negative: so many ms from now; 1 when it is recovered: it has ended}
-- ARGV[3]  life of the pending mark in ms; 0: no message is asked for
-- ARGV[4]  1: store nothing, only answer
-- ARGV[5]  until when something may be stored, ms; 0 = no limit
-- ARGV[6]  the only incarnation in which a run may begin; "" = in any
-- returns  {need message 0/1, {outcome, stored s, stored h, stored r}...}; outcome: 0 created, 1 exists, 2 conflict,
--          3 parent missing, 4 parent ended, 5 other incarnation: {5, the one there is}, 6 the run is sealed,
--          7 not held any more
local check = ARGV[4] == '1'
local begins = ARGV[6] ~= '' and ARGV[6]
local late = tonumber(ARGV[5]) > 0 and now > tonumber(ARGV[5])
local items = cmsgpack.unpack(ARGV[2])
local answers, created = {}, 0
local counts, dues, done, trees = {}, {}, {}, {}

local function refuse_parent(run, parent)
  local spec, phase, deletion = unpack(redis.call('HMGET', base .. 'a:' .. run .. '/' .. parent, 's', 'p', 'd'))
  if not spec then return 3 end
  if terminal(phase) or deletion then return 4 end
  return nil
end

local function count(key, field, by)
  counts[key] = counts[key] or {}
  counts[key][field] = (counts[key][field] or 0) + by
end

-- Store when an action may start and when it expires; when a step is to look at it first.
local function plan(key, start, ends)
  if start < 0 then start = now - start end
  if ends < 0 then ends = now - ends end
  if start > 0 then redis.call('HSET', key, 'nb', int(start)) end
  if ends > 0 then redis.call('HSET', key, 'xp', int(ends)) end
  local due = math.max(now, start)
  return ends > 0 and math.min(due, ends) or due
end

local incarnations, sealed = {}, {}

-- Which incarnation a run has; nil: it has no action yet. One of a release before has an empty one.
local function incarnation_of(run)
  if incarnations[run] == nil then
    local key = base .. 'run:' .. run
    local incarnation, seal = unpack(redis.call('HMGET', key, 'i', 'z'))
    incarnations[run] = incarnation or (redis.call('EXISTS', key) == 1 and '')
    sealed[run] = seal
  end
  return incarnations[run] or nil
end

-- Runs with equal shared parts keep one for all of them; the last run that uses it removes it (collect).
local function use_part(run, digest, bytes)
  redis.call('HSETNX', base .. 'parts', digest, bytes)
  if redis.call('HSETNX', base .. 'run:' .. run, 'h:' .. digest, '1') == 1 then
    redis.call('HINCRBY', base .. 'uses', digest, 1)
  end
end

local at_now = int(now)
local parents, marked, shared = {}, {}, {}
for i, item in ipairs(items) do
  local path, parent, fields, event, phase, shared_name, bytes, start, expires, recovered = unpack(item)
  local key, run = record(path), run_of(path)
  local part_key, recover = run .. '/' .. shared_name, recovered == 1
  -- the bytes come with the first item that has them, which may be refused
  if bytes ~= '' then shared[part_key] = bytes end
  local old_spec, old_shared, old_parent = unpack(redis.call('HMGET', key, 's', 'h', 'r'))
  local mine, refusal, other = string.sub(shared_name, 17), nil, nil
  if old_spec then
    other = string.sub(old_shared, 17)
  else
    other = incarnation_of(run) or begins or mine
  end
  if other ~= mine then
    refusal = 5
  elseif old_spec then
    refusal = 2
    local own = {}
    for f = 1, #fields, 2 do own[fields[f]] = fields[f + 1] end
    if own['s'] == old_spec and own['h'] == old_shared and (own['r'] or false) == old_parent then refusal = 1 end
  elseif sealed[run] then
    refusal = 6
  elseif parent ~= '' and not recover then
    local parent_path = run .. '/' .. parent
    if parents[parent_path] == nil then parents[parent_path] = refuse_parent(run, parent) or false end
    refusal = parents[parent_path] or nil
  end
  if late and not refusal then refusal = 7 end
  if refusal == 5 then
    answers[i] = { 5, other }
  elseif check and not refusal then
    parents[path] = false -- children later in the list would find it
    incarnations[run] = mine
    answers[i] = { 0 }
  elseif refusal then
    answers[i] = { refusal, old_spec or '', old_shared or '', old_parent or '' }
  else
    if incarnation_of(run) == nil then
      incarnations[run] = mine
      if mine ~= '' then redis.call('HSET', base .. 'run:' .. run, 'i', mine) end
    end
    if shared[part_key] then
      use_part(run, string.sub(shared_name, 1, 16), shared[part_key])
      shared[part_key] = nil
    end
    local id = redis.call('XADD', base .. 'events', '*', 'e', event .. ',"updated_time":' .. at_now .. '}')
    redis.call('HSET', key, 'c', at_now, 'v', '1', 'p', phase, 'e', '1 ' .. id, unpack(fields))
    local index, at = recover and done or dues, now
    if not recover then
      at = plan(key, start, expires)
      if at <= now then note_next(path) end
    end
    index[#index + 1] = int(at)
    index[#index + 1] = path
    if recover then redis.call('HSET', key, 'o', at_now) else created = created + 1 end
    local tree, run_key = trees[run] or {}, base .. 'run:' .. run
    trees[run] = tree
    tree[#tree + 1] = 0
    tree[#tree + 1] = parent .. '/' .. name_of(path)
    count(run_key, phase, 1)
    if parent ~= '' then
      count(run_key, 't:' .. parent, 1)
      -- the parent of a recovered one may not be there yet; it comes with its mark
      if not recover then count(run_key, 'o:' .. parent, 1) end
      -- whether that is a group is not known yet
      if recover then redis.call('RPUSH', base .. 'ended:' .. run .. '/' .. parent, name_of(path)) end
      if not recover and not marked[run .. '/' .. parent] then
        redis.call('HSET', base .. 'a:' .. run .. '/' .. parent, 'b', '1')
        marked[run .. '/' .. parent] = true
      end
    end
    parents[path] = nil -- children later in the list find it
    answers[i] = { 0 }
  end
end
for key, fields in pairs(counts) do
  for field, by in pairs(fields) do redis.call('HINCRBY', key, field, by) end
end
zadd_all(KEYS[1], dues)
zadd_all(base .. 'done', done)
for run, members in pairs(trees) do
  zadd_all(base .. 'tree:' .. run, members)
  redis.call('ZADD', base .. 'runs', 'NX', int(now), run)
  redis.pcall('PUBLISH', base .. 'n:' .. run, '') -- what is written is written: a refusal here must not hide it
end
return { created > 0 and ARGV[3] ~= '0' and need_message(ARGV[3]) or 0, answers }
