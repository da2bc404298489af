-- Write what a step decided, each action under its fencing token, and release the claims.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of {path, token, flat list of fields to set, list of fields to delete, events, phase or 0,
--          due (0 = never), parent name or "", 1 when it ends here, 1 when it is a failure,
--          time up to which an attempt's lease was looked at (0 = no lease is to be watched), version that was claimed,
--          launch that is to stand in a line or "", the line, 1 when none stands in one any more,
--          incarnation of the record that was claimed, open children at which it is to be looked at or 0,
--          since when who had the launch it gives up, replaces or ends, or "": launch_fence.py,
--          code of the last error of what ends here or ""}
-- ARGV[3]  horizon of countdowns in ms
-- ARGV[4]  grace in ms after an attempt's lease until a step looks
-- ARGV[5]  most stream ids a record keeps
-- ARGV[6]  finalizer
-- ARGV[7]  how far the launches of one run stand apart in a line, in ms: a run of many lets others pass
-- ARGV[8]  how long after the end of a child one that wants more is looked at, in ms
-- returns  {now, next due, arm 0/1, {outcome...}, opened lines: {line, place of its first launch, when}...};
--          outcome: 0 done, 1 superseded, 2 gone
local outcomes, counts, runs, ended = {}, {}, {}, {}
local dues, never, done = {}, {}, {}
local asking, answered, PAUSED = {}, {}, '9'
local grace, most_ids, apart = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local places = {}

local function count(run, field, by)
  counts[run] = counts[run] or {}
  counts[run][field] = (counts[run][field] or 0) + by
end

-- Append events to the channel; the new value of field e.
local function publish(e, events)
  local ids = {}
  for id in string.gmatch(string.match(e or '', '^%d+ (.*)$') or '', '%S+') do ids[#ids + 1] = id end
  for _, event in ipairs(events) do ids[#ids + 1] = redis.call('XADD', base .. 'events', '*', 'e', event) end
  local n = tonumber(string.match(e or '0', '^%d+')) + #events
  return int(n) .. ' ' .. table.concat(ids, ' ', math.max(1, #ids - most_ids + 1))
end

-- While an attempt runs, the end of its lease is looked at too; field u keeps the step's own request, unless it goes.
local function watch(due, seen, lease_ends, sets, dels)
  local kept = due > 0
  for _, field in ipairs(dels) do kept = kept and field ~= 'u' end
  if kept then
    sets[#sets + 1] = 'u'
    sets[#sets + 1] = int(due)
  else
    dels[#dels + 1] = 'u'
  end
  local look = tonumber(lease_ends) + grace
  if look > seen and (due == 0 or look < due) then return look end
  return due
end

local function child_ended(run, parent, failed)
  count(run, 'o:' .. parent, -1)
  if failed then count(run, 'f:' .. parent, 1) end
end

-- Where the next launch of a run stands: at the time it came, but so far behind the one before.
local function next_place(run)
  local last = places[run] or tonumber(redis.call('HGET', base .. 'run:' .. run, 'lp') or 0)
  places[run] = math.max(now, last + apart)
  return int(places[run])
end

local ended_parents = {}
local at_now = int(now)
local function write(i, w)
  local path, token, sets, dels, events, phase, due, parent, ends, fails, seen, version, launch, line, unsent, incarnation, refill, fence, code =
    unpack(w)
  local key, new_phase = record(path), phase > 0 and int(phase)
  -- somebody else's data under this key must not stop the others half way: an error has no fields
  local k, p, woken, e, claimed, v, has_children, stands, shared_name, started, owner, ended_as, lease_ends, sent, placed, priority =
    unpack(ends_here[i] or redis.pcall('HMGET', key, unpack(COMMITTED)))
  if not shared_name or string.sub(shared_name, 17) ~= incarnation then
    -- gone; or forgotten since it was claimed, and this one has its name
    outcomes[i] = 2
  elseif k ~= token or tonumber(v) ~= version or not claimed or (new_phase and new_phase ~= p and terminal(p)) then
    -- another version under our token: the server was promoted with an older state and has counted anew.
    -- no lease field: this very commit was applied before (its answer got lost on the way)
    outcomes[i] = 1
  elseif fence ~= '' and (ended_as or fence ~= (started or '0') .. ' ' .. (owner or '')) then
    -- what was taken for lost, or for waiting, has been given back, taken or ended since: the next round sees it
    redis.call('HDEL', key, 'l', 'w')
    dues[#dues + 1] = at_now
    dues[#dues + 1] = path
    outcomes[i] = 1
  else
    local run, name = string.match(path, '^(.*)/([^/]*)$')
    if #events > 0 then
      sets[#sets + 1] = 'e'
      sets[#sets + 1] = publish(e, events)
      runs[run] = true
    end
    if #sets + #dels > 0 then
      sets[#sets + 1] = 'v'
      sets[#sets + 1] = int(version + 1)
    end
    if woken then
      if due ~= 0 then
        due = math.min(due, tonumber(woken))
      elseif ends == 0 and not terminal(p) then
        due = tonumber(woken)
      end
    end
    if seen ~= 0 and owner and not ended_as then due = watch(due, seen, lease_ends, sets, dels) end
    if has_children and refill == 0 then dels[#dels + 1] = 'ro' end
    if stands and (unsent == 1 or launch ~= '') then
      leave(stands, path)
      dels[#dels + 1] = 'nl'
    end
    if launch ~= '' then
      local again = sent == launch
      sets[#sets + 1] = 'n'
      sets[#sets + 1] = launch
      -- a worker may have begun since the claim what is sent again
      if not (again and owner) then
        local place, at = again and placed or next_place(run), at_level(line, priority)
        for _, part in ipairs({ 'nl', at, 'np', place }) do sets[#sets + 1] = part end
        enter(path, at, place)
      end
    end
    -- first what goes: a record never shrinks to a smaller piece of memory, so it shall not outgrow the one it needs
    redis.call('HDEL', key, 'l', 'w', unpack(dels))
    if #sets > 0 then redis.call('HSET', key, unpack(sets)) end
    if refill > 0 then
      redis.call('HSET', key, 'ro', int(refill))
      -- what ended since the claim has woken nobody
      if tonumber(redis.call('HGET', base .. 'run:' .. run, 'o:' .. name) or 0) <= refill then due = now end
    end
    -- it ended while children are open: a further round is owed, even if this step dies
    if ends == 1 and has_children and tonumber(redis.call('HGET', base .. 'run:' .. run, 'o:' .. name) or 0) > 0 then
      local f = redis.call('HGET', key, 'f')
      if not has(f, ARGV[6]) then f = f and f .. ' ' .. ARGV[6] or ARGV[6] end
      redis.call('HSET', key, 'f', f, 'k', token)
      due = now
    end
    if due == 0 then
      never[#never + 1] = path
    else
      dues[#dues + 1] = int(due)
      dues[#dues + 1] = path
    end
    if new_phase and new_phase ~= p then
      count(run, p, -1)
      count(run, new_phase, 1)
      if new_phase == PAUSED then
        asking[#asking + 1] = at_now
        asking[#asking + 1] = path
      elseif p == PAUSED then
        answered[#answered + 1] = path
      end
    end
    if ends == 1 then
      done[#done + 1] = at_now
      done[#done + 1] = path
      local names = ended[run] or {}
      names[#names + 1] = name
      ended[run] = names
      if code ~= '' then count(run, 'x:' .. code, 1) end
      if parent ~= '' then
        child_ended(run, parent, fails == 1)
        local of = ended_parents[run .. '/' .. parent] or { parent }
        of[#of + 1] = name
        ended_parents[run .. '/' .. parent] = of
      end
    end
    outcomes[i] = 0
  end
end
for i, w in ipairs(cmsgpack.unpack(ARGV[2])) do
  if type(ends_here[i]) == 'number' then outcomes[i] = ends_here[i] else write(i, w) end
end
zadd_all(KEYS[1], dues)
zrem_all(KEYS[1], never)
zadd_all(base .. 'done', done)
zrem_all(base .. 'asking', answered)
zadd_all(base .. 'asking', asking)
for run, place in pairs(places) do redis.call('HSET', base .. 'run:' .. run, 'lp', int(place)) end
local opened = enter_lines()
for run, fields in pairs(counts) do
  for field, by in pairs(fields) do
    if by ~= 0 then redis.call('HINCRBY', base .. 'run:' .. run, field, by) end
  end
end
-- the last child to end wakes its parent, and each one a parent whose launch has ended, or that wants more children when
-- there is much room, else a moment later: nobody polls for a join. A launch at work is told of ends itself
for path, of in pairs(ended_parents) do
  local key, name = record(path), of[1]
  local open = tonumber(redis.call('HGET', base .. 'run:' .. run_of(path), 'o:' .. name) or 0)
  local spec, phase, launch_ended, refill, listed, owner, deletion =
    unpack(redis.call('HMGET', key, 's', 'p', 'ar', 'ro', 'el', 'ao', 'd'))
  if listed then
    for i = 2, #of, 1000 do redis.call('RPUSH', base .. 'ended:' .. path, unpack(of, i, math.min(i + 999, #of))) end
  end
  if spec and not terminal(phase) then
    local at_work = owner and not launch_ended and not refill and not deletion
    if launch_ended or open <= math.max(0, tonumber(refill or 0)) and not at_work then
      wake(key, path, now)
    elseif refill then
      wake(key, path, now + tonumber(ARGV[8]))
    end
  end
end
-- who waits for one action of many is told by name, and need not look after each commit; who cannot be told looks by itself
for run in pairs(runs) do redis.pcall('PUBLISH', base .. 'n:' .. run, table.concat(ended[run] or {}, ' ')) end
local at, arm = next_due(tonumber(ARGV[3]))
return { at_now, at, arm, outcomes, opened }
