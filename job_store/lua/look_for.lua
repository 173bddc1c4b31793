-- Looks for the messages of open jobs in every place at one moment.
--
-- KEYS  1 waiting ids, 2 messages, 3 open jobs, 4 dead ids, 5 dead messages, 6 heartbeats
-- ARGV  1 and 2 what stands before and after a worker's id in the key of what it has fetched, 3 how
--       much of the end of the waiting ids to read, 4.. job ids, which are those of the messages too
--
-- Returns that end, and for each id: 0 when the job is not open or its message is here, 1 when its
-- message is in no place looked at, 2 when it has none.
local last = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[3]), -1)
local waits = {}
for _, id in ipairs(last) do
  waits[id] = true
end
local workers = redis.call('ZRANGE', KEYS[6], 0, -1)
local function is_here(id)
  if waits[id] then
    return true
  end
  for _, worker in ipairs(workers) do
    if redis.call('SISMEMBER', ARGV[1] .. worker .. ARGV[2], id) == 1 then
      return true
    end
  end
  return false
end
local found = {}
for i = 4, #ARGV do
  local id, state = ARGV[i], 0
  if redis.call('HEXISTS', KEYS[3], id) == 1
    and not (redis.call('ZSCORE', KEYS[4], id) and redis.call('HEXISTS', KEYS[5], id) == 1) then
    if redis.call('HEXISTS', KEYS[2], id) == 0 then
      state = 2
    elseif not is_here(id) then
      state = 1
    end
  end
  found[#found + 1] = state
end
return {last, found}
