#!lua flags=allow-oom
-- Removes messages that a worker is done with. One that is no longer the worker's stays: it was taken
-- for dead, and the message has gone to another.
--
-- KEYS  1 ids that the worker has fetched, 2 messages
-- ARGV  message ids
for _, id in ipairs(ARGV) do
  if redis.call('SREM', KEYS[1], id) == 1 then
    redis.call('HDEL', KEYS[2], id)
  end
end
