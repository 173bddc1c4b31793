#!lua flags=allow-oom
-- Closes a job with its final record and moves the counts, at most once.
--
-- KEYS  1 job records, 2 open jobs, 3 counts
-- ARGV  1 job id, 2 field of its record, 3 record, 4 failed interactions
--
-- Returns 1 when this call closed the job, 0 when it was closed before.
local open = tonumber(redis.call('HGET', KEYS[2], ARGV[1]))
if not open then
  return 0
end
local failed = math.min(tonumber(ARGV[4]), open)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'written', open - failed)
redis.call('HINCRBY', KEYS[3], 'failed', failed)
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
return 1
