-- Note a process that stands by for a queue, and is told instead of a ticket; or take the note back.
-- KEYS[1]  heads
-- ARGV[1]  base of the queue's keys
-- ARGV[2]  channel on which it is told
-- ARGV[3]  how long the note counts, ms; 0 = it is taken back
-- ARGV[4]  1: it stands by already
-- returns  1 when the note was made or there was one, 0: there are launches, or it was told meanwhile, -1: nobody would hear it
local idle, life = base .. 'idle', tonumber(ARGV[3])
if life == 0 then return redis.call('ZREM', idle, ARGV[2]) end
if deaf(ARGV[2]) then return -1 end
local stands = redis.call('ZSCORE', idle, ARGV[2])
if ARGV[4] == '1' and not stands then return 0 end
if not stands then
  if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('EXISTS', base .. 'paused') == 0 then return 0 end
  -- a ticket on its way was for what is done; where all slots stand by it would not come, and its mark keep others from being told
  redis.call('DEL', base .. 'ticket')
end
redis.call('ZADD', idle, int(now + life), ARGV[2])
redis.call('PEXPIRE', idle, life)
return 1
