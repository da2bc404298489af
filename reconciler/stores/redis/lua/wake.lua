-- Make actions due.
-- Fields of a record: reconciler/stores/records.py.
-- KEYS[1]  due index
-- ARGV[1]  base
-- ARGV[2]  msgpack: paths
-- ARGV[3]  when, in ms; 0 = now
-- ARGV[4]  life of the pending mark in ms
-- returns  need message 0/1
local at = tonumber(ARGV[3])
if at == 0 then at = now end
local woken = 0
for _, path in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key = record(path)
  local spec, phase, finalizers = unpack(redis.pcall('HMGET', key, 's', 'p', 'f'))
  if spec and (not terminal(phase) or finalizers) then
    wake(key, path, at)
    woken = woken + 1
  end
end
if woken == 0 or at > now then return 0 end
return need_message(ARGV[4])
