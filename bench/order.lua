-- The order life cycle of examples/order as a Redis script: what a careful team would write today.
-- KEYS[1] the entity; ARGV: event, n, id. One hash per entity holds its state, its fields and each id with its reply;
-- one stream holds the events. The fewest redis.call's that do the job (each costs more than what it does).
local key, event, n, id = KEYS[1], ARGV[1], tonumber(ARGV[2]), 'id:' .. ARGV[3]
local now = redis.call('HMGET', key, 'state', 'version', 'qty', 'filled', id)
local state, version, qty, filled = now[1], tonumber(now[2] or 0), tonumber(now[3]), tonumber(now[4] or 0)

if now[5] then
	return now[5]
end
if event == 'Place' and not state and n > 0 then
	state, qty = 'Open', n
elseif event == 'Fill' and state == 'Open' and n > 0 and filled + n <= qty then
	filled = filled + n
	state = filled == qty and 'Filled' or 'Open'
elseif event == 'Cancel' and state == 'Open' then
	state = 'Cancelled'
else
	return redis.error_reply('REFUSED ' .. key .. ' is ' .. (state or 'new') .. ': ' .. event)
end
version = version + 1
local reply = state .. ' ' .. version
redis.call('HSET', key, 'state', state, 'version', version, 'qty', qty, 'filled', filled, id, reply)
redis.call('XADD', 'orders', '*', 'key', key, 'event', event, 'n', n, 'id', ARGV[3])
return reply
