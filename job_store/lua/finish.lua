#!lua flags=allow-oom
-- Closes jobs with their final records and moves the counts, each job at most once.
--
-- KEYS  1 counts, 2 open jobs, 3.. job records of each job
-- ARGV  for each job its id, field of its record, record, failed interactions
--
-- Returns for each job 1 when this call closed it, 0 when it was closed before.
local closed = {}
for n = 1, #KEYS - 2 do
  local id, field, record = ARGV[4 * n - 3], ARGV[4 * n - 2], ARGV[4 * n - 1]
  local open = tonumber(redis.call('HGET', KEYS[2], id))
  closed[n] = open and 1 or 0
  if open then
    local failed = math.min(tonumber(ARGV[4 * n]), open)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HINCRBY', KEYS[1], 'written', open - failed)
    redis.call('HINCRBY', KEYS[1], 'failed', failed)
    if redis.call('HEXISTS', KEYS[n + 2], field) == 1 then
      redis.call('HSET', KEYS[n + 2], field, record)
    end
  end
end
return closed
