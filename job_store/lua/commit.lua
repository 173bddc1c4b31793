-- Makes a job durable, whole or not at all: its times, its record, its open interactions, its
-- message and the request ids that it answers.
--
-- KEYS  1 times; with a job 2 job records of this second, 3 open jobs, 4 counts, 5 queue, 6 messages
--       of the queue. Without a job only the clock and the request ids are looked at.
-- ARGV  1 latest time that was handed out as far as the caller knows, 2 what the clock must have passed
--       if this store does not know of that, 3 length of a window of request ids (times are
--       microseconds), 4 windows that a request id lives at least, 5 prefix of the buckets of request
--       ids, 6 whether replicas are to confirm, 7 how many request ids; for each of them its bucket, its
--       field and its record; then the job: its id, which is the message's id too, field of its record,
--       record, seconds to live of that, interactions, message up to the first time, message after it
--
-- Returns {wait, last, now, n, record, ...}. `wait` is above 0, and nothing was changed, while this
-- store is older than what it has handed out: microseconds until its clock has passed that. `last` is
-- the latest time handed out, `now` the clock. When request ids are taken already nothing was stored,
-- and the n-th of them (from 0) stands for that record. Otherwise the job is durable, now or by an
-- earlier call whose reply was lost.
--
-- Keys 5 and 6 are a Dramatiq queue as its RedisBroker stores it (dispatch.lua, command "enqueue");
-- a contract test holds both to the same layout.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local times = redis.call('HMGET', KEYS[1], 'last', 'wait')
local last, wait = tonumber(times[1] or 0), tonumber(times[2] or 0)
local passed = tonumber(ARGV[2])
if last < tonumber(ARGV[1]) and now <= passed and wait < passed then
  -- For the other processes, too, which may not know what was handed out.
  wait = passed
  -- That fails while memory is full; then nobody can store anything, and this is tried again.
  redis.pcall('HSET', KEYS[1], 'wait', wait)
end
if now <= wait then
  return {wait - now + 1, last, now}
end
local first = math.max(now, last + 1)

-- A replica confirms what was written on this connection. What is answered from what was stored over
-- another one needs a write, too, or it would be taken for confirmed.
local function write_for_confirmation()
  if ARGV[6] == '1' then
    redis.call('HSET', KEYS[1], 'last', last)
  end
end

local windows, requests, job = tonumber(ARGV[4]), tonumber(ARGV[7]), 7 + 3 * ARGV[7]
if #KEYS > 1 and redis.call('HEXISTS', KEYS[2], ARGV[job + 2]) == 1 then
  write_for_confirmation()
  return {0, last, now}
end
local window = math.floor(first / ARGV[3])
local answer = {0, last, now}
for n = 0, requests - 1 do
  local bucket, field = ARGV[8 + 3 * n], ARGV[9 + 3 * n]
  for back = 0, windows do
    local record = redis.call('HGET', ARGV[5] .. window - back .. ':' .. bucket, field)
    if record then
      answer[#answer + 1] = n
      answer[#answer + 1] = record
      break
    end
  end
end
if #answer > 3 then
  write_for_confirmation()
end
if #answer > 3 or #KEYS == 1 then
  return answer
end

-- A script that fails stays half done, so nothing is written before this is known to be right.
local lifetime = tonumber(ARGV[job + 4])
local expiry = math.ceil((window + 1 + windows) * ARGV[3] / 1000000)
if not (lifetime > 0 and lifetime < 1e10 and expiry > now / 1000000 and expiry < 1e11) then
  return redis.error_reply('ERR a time to live is out of range')
end

last = first + ARGV[job + 5] - 1
redis.call('HSET', KEYS[2], ARGV[job + 2], ARGV[job + 3])
redis.call('EXPIRE', KEYS[2], lifetime)
redis.call('HSET', KEYS[3], ARGV[job + 1], ARGV[job + 5])
redis.call('HINCRBY', KEYS[4], 'accepted', ARGV[job + 5])
redis.call('HSET', KEYS[6], ARGV[job + 1], ARGV[job + 6] .. struct.pack('<I8', first) .. ARGV[job + 7])
redis.call('RPUSH', KEYS[5], ARGV[job + 1])
redis.call('HSET', KEYS[1], 'last', last)
for n = 0, requests - 1 do
  local key = ARGV[5] .. window .. ':' .. ARGV[8 + 3 * n]
  redis.call('HSET', key, ARGV[9 + 3 * n], ARGV[10 + 3 * n])
  if redis.call('HLEN', key) == 1 then
    redis.call('EXPIREAT', key, expiry)
  end
end
return {0, last, now}
