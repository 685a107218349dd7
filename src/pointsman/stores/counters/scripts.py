"""Scripts: the decisions of `Cells` as Redis carries them out, each in one step. Redis' own clock is the only one.

A counter is a hash: m (mark), u (used), h (held). What an owner, one worker of one replica, holds of which counter stands in
a hash of its own beside `#`, the number of its last settlement, so that it is given back when the owner is gone, and no
settlement counts twice. Numbers go through `%.0f`: Lua would write large ones as 1e+15.
"""

from __future__ import annotations

PREFIX = "pointsman:1:"
OWNERS = PREFIX + "owners"
HOLDS = PREFIX + "holds:"
COUNTER = PREFIX + "counter:"

_COMMON = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local wall = math.floor(now / 1000)
local function n(x) return string.format('%.0f', x) end
local function window(at, m)
  local begin, finish, after = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if wall >= finish then begin, finish = finish, after end
  if m > begin then finish = m + (finish - begin); begin = m end
  return begin, finish
end
local function first(m, rate)
  if m > now and m <= now + 2 * rate then return m end
  return now
end
"""

# KEYS: the holds of the owner, then the counters. ARGV: the latest time, then for each counter: period of the rate (0: a
# window), limit, begin, end, end of the next window, amount, whether it is hard.
RESERVE = (
    _COMMON
    + """
if now > tonumber(ARGV[1]) then return {-2, 0, now} end
local refusing, worst = -1, 0
local out, todo = {}, {}
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 7
  local rate, limit = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local amount, hard = tonumber(ARGV[at + 5]), ARGV[at + 6] == '1'
  local h = redis.call('HMGET', KEYS[i], 'm', 'u', 'h')
  local m, u, held = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  local left, reset, start, wait
  if rate > 0 then
    start = first(m, rate)
    local finish = start + math.floor(amount * rate / limit)
    wait, reset = finish - now - rate, finish - now
    left = math.floor((rate - reset) * limit / rate)
    todo[i] = {finish, 0}
    u, held = 0, 0
  else
    local begin, finish = window(at + 2, m)
    if m ~= begin then u = 0 end
    left, reset, start, wait = limit - u - held - amount, finish * 1000 - now, begin, 0
    if left < 0 then wait = reset end
    todo[i] = {begin, u}
  end
  local o = #out
  out[o + 1], out[o + 2], out[o + 3], out[o + 4], out[o + 5] = left, reset, start, u, held
  if hard and wait > 0 then
    if amount > limit then wait = -1 end
    if refusing < 0 or (worst ~= -1 and (wait == -1 or wait > worst)) then refusing, worst = i - 2, wait end
  end
end
local answer = {refusing, worst, now, unpack(out)}
if refusing >= 0 then return answer end
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 7
  local rate, amount = tonumber(ARGV[at]), tonumber(ARGV[at + 5])
  if rate > 0 then
    redis.call('HSET', KEYS[i], 'm', n(todo[i][1]))
    redis.call('PEXPIRE', KEYS[i], n(math.ceil(rate / 500) + 1000))
  else
    redis.call('HSET', KEYS[i], 'm', n(todo[i][1]), 'u', n(todo[i][2]))
    redis.call('HINCRBY', KEYS[i], 'h', n(amount))
    redis.call('HINCRBY', KEYS[1], KEYS[i], n(amount))
    redis.call('PEXPIRE', KEYS[i], n(out[(i - 2) * 5 + 2] / 1000 + 172800000))
  end
end
return answer
"""
)

# KEYS as above. ARGV: the number of this settlement, then for each counter as above, but reserved, actual and start at the
# end.
SETTLE = (
    _COMMON
    + """
local last = tonumber(redis.call('HGET', KEYS[1], '#') or 0)
if tonumber(ARGV[1]) <= last then return {0} end
redis.call('HSET', KEYS[1], '#', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 172800000)
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 8
  local rate, limit = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local reserved, actual, start = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local h = redis.call('HMGET', KEYS[i], 'm', 'u', 'h')
  local m, u, held = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0)
  if rate > 0 then
    local whole = start + math.floor(reserved * rate / limit)
    local mine = start + math.floor(actual * rate / limit)
    if actual <= reserved then
      m = m - math.max(0, whole - math.max(now, mine))
    else
      m = math.min(math.max(m, now) + mine - whole, now + 2 * rate)
    end
    redis.call('HSET', KEYS[i], 'm', n(m))
    redis.call('PEXPIRE', KEYS[i], n(math.ceil(rate / 500) + 1000))
  else
    local begin, finish = window(at + 2, m)
    if m ~= begin then u = 0 end
    local own = tonumber(redis.call('HGET', KEYS[1], KEYS[i]) or 0)
    local back = math.min(own, reserved)
    if back > 0 and back == own then
      redis.call('HDEL', KEYS[1], KEYS[i])
    elseif back > 0 then
      redis.call('HINCRBY', KEYS[1], KEYS[i], n(-back))
    end
    redis.call('HSET', KEYS[i], 'm', n(begin), 'u', n(u + actual), 'h', n(math.max(0, held - back)))
    redis.call('PEXPIRE', KEYS[i], n(finish - wall + 172800000))
  end
end
return {1}
"""
)

# KEYS: the owners, our holds. ARGV: our name, the prefix of holds, how long an owner may be silent, whether to give back
# what we do not know of, then counter and amount of what we hold.
BEAT = (
    _COMMON
    + """
local function give_back(holds, counter, amount)
  local held = tonumber(redis.call('HGET', counter, 'h') or 0)
  if held > 0 then redis.call('HSET', counter, 'h', n(math.max(0, held - amount))) end
end
redis.call('ZADD', KEYS[1], n(wall + tonumber(ARGV[3])), ARGV[1])
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', n(wall), 'LIMIT', 0, 16)) do
  local holds = ARGV[2] .. owner
  local all = redis.call('HGETALL', holds)
  for i = 1, #all, 2 do
    if all[i] ~= '#' then give_back(holds, all[i], tonumber(all[i + 1])) end
  end
  redis.call('DEL', holds)
  redis.call('ZREM', KEYS[1], owner)
end
if ARGV[4] == '1' then
  local known = {}
  for i = 5, #ARGV, 2 do known[ARGV[i]] = tonumber(ARGV[i + 1]) end
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    if all[i] ~= '#' then
      local excess = tonumber(all[i + 1]) - (known[all[i]] or 0)
      if excess > 0 then
        give_back(KEYS[2], all[i], excess)
        redis.call('HINCRBY', KEYS[2], all[i], n(-excess))
      end
    end
  end
end
return {now}
"""
)
