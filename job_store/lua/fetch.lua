#!lua flags=allow-oom
-- Takes messages off a queue in the name of a worker, in their order, until it has enough.
--
-- KEYS  1 waiting ids, 2 messages, 3 ids that the worker has fetched, 4 heartbeats
-- ARGV  1 worker id, 2 now in milliseconds, 3 most messages, 4 most bytes of messages: the first one
--       is taken whatever its size
--
-- Returns how many ids still wait, then each id that was taken and its message, false where an id has
-- none. Returns nothing, and writes nothing, when none waits.
--
-- What it writes is what Dramatiq's dispatch.lua writes for its command "fetch".
local ids, bytes, most = redis.call('LRANGE', KEYS[1], 0, ARGV[3] - 1), 0, tonumber(ARGV[4])
local taken = {}
for n, id in ipairs(ids) do
  bytes = bytes + redis.call('HSTRLEN', KEYS[2], id)
  if n > 1 and bytes > most then
    break
  end
  taken[n] = id
end
if #taken == 0 then
  return {}
end
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
redis.call('LPOP', KEYS[1], #taken)
redis.call('SADD', KEYS[3], unpack(taken))
local answer = {redis.call('LLEN', KEYS[1])}
for n, message in ipairs(redis.call('HMGET', KEYS[2], unpack(taken))) do
  answer[2 * n] = taken[n]
  answer[2 * n + 1] = message
end
return answer
