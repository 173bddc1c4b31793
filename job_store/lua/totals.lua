-- Reads the counts and sums the open interactions.
--
-- KEYS  1 counts, 2 open jobs
-- ARGV  1 most open jobs to sum
--
-- Returns the counts and the sum, or -1 in its place while more jobs are open.
local open = -1
if redis.call('HLEN', KEYS[2]) <= tonumber(ARGV[1]) then
  open = 0
  for _, number in ipairs(redis.call('HVALS', KEYS[2])) do
    open = open + number
  end
end
return {redis.call('HMGET', KEYS[1], 'accepted', 'written', 'failed'), open}
