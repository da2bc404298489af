-- Store the request to abort actions and all their descendants, and make them due.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: paths
-- ARGV[3]  deletion (JSON up to its closing brace)
-- ARGV[4]  most actions one call looks at
-- ARGV[5]  life of the pending mark in ms; 0: no message is asked for
-- ARGV[6]  incarnation of the run that is meant; "" = whichever there is
-- returns  {outcome of the first path, marked, need message 0/1, {paths still to do}}
--          outcome: 0 requested, 1 already, 2 ended, 3 missing
local queue, first, marked = cmsgpack.unpack(ARGV[2]), 3, 0
local limit = tonumber(ARGV[4])
local deletion = ARGV[3] .. ',"at":' .. int(now) .. '}'
local i = 1
while i <= #queue and i <= limit do
  local path = queue[i]
  local key = record(path)
  local spec, phase, asked, has_children, shared_name = unpack(redis.call('HMGET', key, 's', 'p', 'd', 'b', 'h'))
  local outcome = 3
  if spec and not another_life(shared_name, ARGV[6]) then
    if terminal(phase) then
      outcome = 2
    elseif asked then
      outcome = 1
    else
      redis.call('HSET', key, 'd', deletion)
      wake(key, path, now)
      marked = marked + 1
      outcome = 0
    end
    -- children are looked at also below an ended or marked parent: an earlier call may have stopped half way
    if has_children then
      local run, name = run_of(path), name_of(path)
      local kids = redis.call('ZRANGE', base .. 'tree:' .. run, '[' .. name .. '/', '(' .. name .. '0', 'BYLEX')
      for _, kid in ipairs(kids) do queue[#queue + 1] = run .. '/' .. name_of(kid) end
    end
  end
  if i == 1 then first = outcome end
  i = i + 1
end
local rest = {}
for j = i, #queue do rest[#rest + 1] = queue[j] end
return { first, marked, (marked > 0 and ARGV[5] ~= '0') and need_message(ARGV[5]) or 0, rest }
