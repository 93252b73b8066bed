-- KEYS[1] is the prefix of all keys; see the top of store/store.py and of bus/presence_registry.py for the rest of a key.
local prefix = KEYS[1]
local call, pcall_redis = redis.call, redis.pcall
local floor, format, match, sub = math.floor, string.format, string.match, string.sub
