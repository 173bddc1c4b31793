-- Finds ids without a message. The messages stay where they are: they may be a megabyte each.
--
-- KEYS  1 messages
-- ARGV  message ids
--
-- Returns those without a message.
local without = {}
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then
    without[#without + 1] = id
  end
end
return without
