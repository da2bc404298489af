-- Say what a worker of a queue can run. A hash, so that a draw reads it in one command: field worker, value
-- `<end of its life>`, then one line `<name> <digest>` for each function, or `!<name> <secrets that it lacks>`. Field ""
-- keeps since when a worker always lived.
-- KEYS[1]  functions of the workers of a queue
-- ARGV[1]  the same
-- ARGV[2]  worker
-- ARGV[3]  its functions: a line break before and after each, name and digest parted by a blank
-- ARGV[4]  life in ms; 0 = the worker takes it back
-- returns  1
local life, living, mine = tonumber(ARGV[4]), 0, false
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  if flat[i] ~= '' then
    local ends = tonumber(string.match(flat[i + 1], '^%d+'))
    if ends <= now then
      redis.call('HDEL', KEYS[1], flat[i])
    else
      living = living + 1
      mine = mine or flat[i] == ARGV[2]
    end
  end
end
if life == 0 then
  redis.call('HDEL', KEYS[1], ARGV[2])
  if living == 0 or (living == 1 and mine) then redis.call('DEL', KEYS[1]) end
  return 1
end
if living == 0 then redis.call('HSET', KEYS[1], '', int(now)) end
redis.call('HSET', KEYS[1], ARGV[2], int(now + life) .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], 2 * life)
return 1
