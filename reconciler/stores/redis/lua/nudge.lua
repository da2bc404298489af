-- Whether something of the shard is due and nobody was told: the caller then sends a wake-up message.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  life of the pending mark in ms
-- returns  need message 0/1
local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not head[1] or tonumber(head[2]) > now then return 0 end
return need_message(ARGV[2])
