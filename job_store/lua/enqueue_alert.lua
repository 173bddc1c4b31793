-- Queues an alert. One that is queued already, or in a worker's hands, stays as it is.
--
-- KEYS  1 waiting ids, 2 messages of the queue
-- ARGV  1 message id, 2 message, 3 whether replicas are to confirm: what this connection has written
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 1 then
  redis.call('RPUSH', KEYS[1], ARGV[1])
elseif ARGV[3] == '1' then
  redis.call('HSET', KEYS[2], ARGV[1], redis.call('HGET', KEYS[2], ARGV[1]))
end
