#!lua flags=allow-oom
-- Stores why a message is about to become a dead letter.
--
-- KEYS  1 causes
-- ARGV  1 message id, 2 cause
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
