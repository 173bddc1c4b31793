-- Makes a job durable, whole or not at all: its record, its place in the books, its message and the
-- request ids it answers.
--
-- KEYS  1 job records of this second, 2 open jobs, 3 counts, 4 queue, 5 messages of the queue,
--       6.. request records
-- ARGV  1 job id, which is the message's id too, 2 field of the record, 3 record, 4 its seconds to
--       live, 5 interactions, 6 message, 7 seconds to live of request records, 8.. request records
--
-- Returns {} when the job is durable, now or by an earlier call whose reply was lost. Returns
-- {n, record, ...} and changes nothing when the n-th request id (from 0) is taken already.
--
-- Keys 4 and 5 are a Dramatiq queue as its RedisBroker stores it (dispatch.lua, command "enqueue");
-- a contract test holds both to the same layout.
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  return {}
end
local taken = {}
for i = 6, #KEYS do
  local record = redis.call('GET', KEYS[i])
  if record then
    taken[#taken + 1] = i - 6
    taken[#taken + 1] = record
  end
end
if #taken > 0 then
  return taken
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[5])
redis.call('HINCRBY', KEYS[3], 'accepted', ARGV[5])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[6])
redis.call('RPUSH', KEYS[4], ARGV[1])
for i = 6, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i + 2], 'EX', ARGV[7])
end
return {}
