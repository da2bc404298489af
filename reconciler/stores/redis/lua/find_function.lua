-- Which living workers of a queue can run a function.
-- KEYS[1]  functions of the workers of a queue
-- ARGV[1]  the same
-- ARGV[2]  name of the function
-- returns  {living workers, since when there has always been one, {digest...}, {names of secrets that one lacks for it...}}
local living, since, digests, lacks = 0, '0', {}, {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local told = flat[i + 1]
  if flat[i] == '' then
    since = told
  elseif tonumber(string.match(told, '^%d+')) > now then
    living = living + 1
    local _, last = string.find(told, '\n' .. ARGV[2] .. ' ', 1, true)
    if last then digests[#digests + 1] = string.match(told, '^%x*', last + 1) end
    _, last = string.find(told, '\n!' .. ARGV[2] .. ' ', 1, true)
    if last then lacks[#lacks + 1] = string.match(told, '^[^\n]*', last + 1) end
  end
end
return { living, living > 0 and since or '0', digests, lacks }
