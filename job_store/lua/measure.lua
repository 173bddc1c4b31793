-- Measures how full Redis is, and tells what decides whether it keeps what it acknowledges.
--
-- KEYS  1 messages with jobs, 2 messages with alerts
--
-- Returns the number of jobs, that of alerts, the bytes of the alerts, then names and values of INFO:
-- all of it, ninety lines, would be much to send and to read.
local info = redis.call('INFO', 'memory', 'persistence')
local answer = {
  redis.call('HLEN', KEYS[1]),
  redis.call('HLEN', KEYS[2]),
  redis.call('MEMORY', 'USAGE', KEYS[2]) or 0,
}
local names = {'used_memory', 'maxmemory', 'maxmemory_policy', 'aof_enabled', 'aof_last_write_status'}
for _, name in ipairs(names) do
  answer[#answer + 1] = name
  answer[#answer + 1] = string.match(info, '\n' .. name .. ':([^\r]*)') or ''
end
return answer
