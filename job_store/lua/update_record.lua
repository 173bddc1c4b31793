#!lua flags=allow-oom
-- Replaces the record of an open job. Another worker may have finished the job meanwhile, when this
-- one was taken for dead: what is final stays. A record that has expired stays away.
--
-- KEYS  1 job records, 2 open jobs
-- ARGV  1 job id, 2 field of its record, 3 record
local open = redis.call('HEXISTS', KEYS[2], ARGV[1])
if open == 1 and redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
