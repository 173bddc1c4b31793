-- Reads the records of several jobs.
--
-- KEYS  the hash of each record
-- ARGV  the field of each
--
-- Returns the records, false where there is none.
local records = {}
for i, key in ipairs(KEYS) do
  records[i] = redis.call('HGET', key, ARGV[i])
end
return records
