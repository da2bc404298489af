-- Note that lines of a queue have launches, and tell whether somebody has to send the queue a ticket.
-- Heads of a queue, all derived from the lines and repaired by the resync sweep; entry: `<shard>/<line without its queue>`,
-- that is `<shard>/<level><- or !>/<fair key>/<function>`:
--   heads           zset, entry → place of its first launch
--   fair:<level>    zset, fair key → what it was served of late, in launches by weight
--   of:<level>/<fair key>  zset, entry → place of its first launch
--   seen            hash, entry → when it was last seen with launches
--   served          hash, level → how far the fair keys of a level have come; a new one starts there
-- KEYS[1]  heads
-- ARGV[1]  base of the queue's keys
-- ARGV[2]  msgpack: list of {entry, place of its first launch, when it was seen, µs}
-- ARGV[3]  life in ms of the mark "a ticket is on its way"
-- returns  1 when a ticket has to be sent, else 0
local heads, seen = KEYS[1], base .. 'seen'
for _, one in ipairs(cmsgpack.unpack(ARGV[2])) do
  local entry, place, at = unpack(one)
  local level, fair = level_of(entry), fair_of(entry)
  place = int(place)
  redis.call('ZADD', heads, place, entry)
  redis.call('ZADD', base .. 'of:' .. level .. '/' .. fair, place, entry)
  redis.call('ZADD', base .. 'fair:' .. level, 'NX', redis.call('HGET', base .. 'served', level) or '0', fair)
  if at > tonumber(redis.call('HGET', seen, entry) or 0) then redis.call('HSET', seen, entry, int(at)) end
end
return need_ticket(heads, ARGV[3])
