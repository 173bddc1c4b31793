#!lua flags=allow-oom
-- Puts a dead letter back into its queue and reopens its job, at most once.
--
-- KEYS  1 dead ids, 2 dead messages, 3 waiting ids, 4 messages, 5 causes, 6 open jobs, 7 counts
-- ARGV  1 message id, 2 job id or nothing
--
-- Returns 1 when the message is back in its queue, 0 when it was no dead letter any more.
local message = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 or not message then
  return 0
end
local cause = redis.call('HGET', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], message)
redis.call('RPUSH', KEYS[3], ARGV[1])
local failed = cause and tonumber(string.match(cause, '^%d+')) or 0
if ARGV[2] ~= '' and failed > 0 and redis.call('HSETNX', KEYS[6], ARGV[2], failed) == 1 then
  redis.call('HINCRBY', KEYS[7], 'failed', -failed)
end
return 1
