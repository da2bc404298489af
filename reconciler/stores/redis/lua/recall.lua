-- Read many actions of one run as they are stored, with those of their events that the channel still holds.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: list of paths
-- returns  msgpack: list of {path, when it ended in ms as text, flat fields, events as JSON}; one that is gone is left out
local found = {}
for _, path in ipairs(cmsgpack.unpack(ARGV[2])) do
  local flat = redis.pcall('HGETALL', record(path))
  if not flat.err and #flat > 0 then
    local events = {}
    for i = 1, #flat, 2 do
      if flat[i] == 'e' then
        for id in string.gmatch(flat[i + 1], '%d+%-%d+') do
          local entry = redis.call('XRANGE', base .. 'events', id, id)[1]
          if entry then events[#events + 1] = entry[2][2] end
        end
      end
    end
    found[#found + 1] = { path, int(tonumber(redis.call('ZSCORE', base .. 'done', path) or 0)), flat, events }
  end
end
return cmsgpack.pack(found)
