#!lua flags=allow-oom
-- Replaces the records of open jobs. Another worker may have finished a job meanwhile, when this one
-- was taken for dead: what is final stays. A record that has expired stays away.
--
-- KEYS  1 open jobs, 2.. job records of each job
-- ARGV  for each job its id, field of its record, record
for n = 1, #KEYS - 1 do
  local id, field = ARGV[3 * n - 2], ARGV[3 * n - 1]
  if redis.call('HEXISTS', KEYS[1], id) == 1
    and redis.call('HEXISTS', KEYS[n + 1], field) == 1 then
    redis.call('HSET', KEYS[n + 1], field, ARGV[3 * n])
  end
end
