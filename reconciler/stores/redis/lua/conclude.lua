-- End attempts of one worker and commit their steps, as finish_attempts, claim and commit would: where the record is as it was
-- drawn. Of the others the outcome is recorded, and they become due. commit.lua follows in the same script.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  as for commit.lua, or {path} where nothing is to be written
-- ARGV[3-8]  as for commit.lua
-- ARGV[9]  owner
-- ARGV[10] msgpack: list of {launch, outcome (JSON up to its closing brace), incarnation of the action that was started;
--          "" = not known, token and finalizers it was drawn with}, in the order of ARGV[2]
-- returns  as commit.lua; outcome: 0 ended and written, 3 recorded and due, 4 superseded
local RECORDED, SUPERSEDED = 3, 4
local writes = cmsgpack.unpack(ARGV[2])
local wanted, written = { unpack(COMMITTED) }, {}
for _, field in ipairs({ 's', 'f', 'd', 'ax', 'la' }) do wanted[#wanted + 1] = field end

-- Whether this very write was applied before: its answer got lost on the way.
local function applied(key, sets, drawn_version, version)
  local field, status = unpack(sets or {})
  return field == 't' and tonumber(version) == drawn_version + 1 and redis.call('HGET', key, 't') == status
end

-- Whether somebody wants it to be looked at now: an end serves that, another decision would put it off.
local function wanted_now(path, due)
  local at = due > 0 and redis.call('ZSCORE', KEYS[1], path)
  return at and tonumber(at) <= now
end

for i, one in ipairs(cmsgpack.unpack(ARGV[10])) do
  local launch, outcome, incarnation, drawn_token, drawn_finalizers = unpack(one)
  local path, token, sets, _, _, _, due, _, _, _, _, drawn_version = unpack(writes[i])
  local key = record(path)
  local k, phase, woken, e, step_ends, version, has_children, stands, shared_name, started, owner, ended_as, lease_ends, current, placed, priority, spec, finalizers, deletion, stop, abandoned =
    unpack(redis.pcall('HMGET', key, unpack(wanted)))
  local lives = spec and not another_life(shared_name, incarnation)
  if lives and not terminal(phase) and current == launch and owner == ARGV[9] then
    local changed = ended_as or step_ends or woken or has_children or stands or deletion or stop or abandoned
    local known = k == drawn_token and tonumber(version) == drawn_version and finalizers == drawn_finalizers
    if token and known and not changed and not written[path] and not wanted_now(path, due) then
      written[path] = true -- told twice in one call, it is written once
      -- what a commit would read: claimed, and its attempt has ended
      ends_here[i] = { token, phase, woken, e, token, version, has_children, stands, shared_name, started, owner, token,
        lease_ends, current, placed, priority }
    else
      if not ended_as then end_attempt(key, path, outcome, step_ends, woken) end
      ends_here[i] = RECORDED
    end
  else
    ends_here[i] = lives and applied(key, sets, drawn_version, version) and 0 or SUPERSEDED
  end
end
