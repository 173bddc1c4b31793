-- Reads where jobs stand.
--
-- KEYS  1 open jobs, 2.. job records of each job
-- ARGV  for each job its id and the field of its record
--
-- Returns for each job its record, false where there is none, and 1 when it is open, 0 otherwise.
local states = {}
for n = 1, #KEYS - 1 do
  states[2 * n - 1] = redis.call('HGET', KEYS[n + 1], ARGV[2 * n])
  states[2 * n] = redis.call('HEXISTS', KEYS[1], ARGV[2 * n - 1])
end
return states
