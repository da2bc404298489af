-- Note who stands by for a shard, and is told instead of a message when something becomes due; or take the note back.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  channel on which he is told
-- ARGV[3]  how long the note counts, ms; 0 = it is taken back
-- returns  1 when he is the one, 0: another one is, -1: nobody would hear it
local key, life = base .. 'hears', tonumber(ARGV[3])
local other = redis.call('GET', key)
if life > 0 and deaf(ARGV[2]) then return -1 end
if other and other ~= ARGV[2] then return 0 end
if life > 0 then redis.call('SET', key, ARGV[2], 'PX', life) else redis.call('DEL', key) end
return 1
