-- Seal runs that have ended as a whole: no action of theirs is live, and all their roots ended before a time.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  ended before, in ms
-- ARGV[3]  most ended actions to look at
-- ARGV[4]  offset: how many an earlier call of this pass looked at
-- returns  {how many were looked at, {run, incarnation or ''}... of those that are sealed and not archived}
local done = base .. 'done'

local function over(run)
  for _, n in ipairs(redis.call('HMGET', base .. 'run:' .. run, '0', '1', '2', '3', '4', '9')) do
    if n and tonumber(n) > 0 then return false end
  end
  for _, member in ipairs(redis.call('ZRANGE', base .. 'tree:' .. run, '[/', '(0', 'BYLEX')) do
    local ended = redis.call('ZSCORE', done, run .. member)
    if ended and tonumber(ended) >= tonumber(ARGV[2]) then return false end
  end
  return true
end

local paths = redis.call('ZRANGE', done, '-inf', '(' .. ARGV[2], 'BYSCORE', 'LIMIT', tonumber(ARGV[4]), tonumber(ARGV[3]))
local seen, sealed = {}, {}
for _, path in ipairs(paths) do
  local run = run_of(path)
  if not seen[run] then
    seen[run] = true
    local fields = redis.pcall('HMGET', base .. 'run:' .. run, 'z', 'i')
    local seal, incarnation = unpack(fields)
    if not fields.err and seal ~= '2' and (seal or over(run)) then
      if not seal then redis.call('HSET', base .. 'run:' .. run, 'z', '1') end
      sealed[#sealed + 1] = { run, incarnation or '' }
    end
  end
end
return { #paths, sealed }
