import { CHANGES_KEPT_MS, CHANGES_REACH_MS, COMMON, LIFE, NOTED_MS, WHOLE } from './redis-history-lua.js';

// The scripts for histories, each of which Redis runs in one step. A channel has a hash (how far it has come) and a stream. Each entry of
// the stream is a batch: its id is `<offset of the last message>-0`, its fields are n (the number of messages), t (the time in
// milliseconds) and p (the payloads, joined by line breaks). The channels in one slot share a sorted set with the time of the latest post
// to each channel, at most NOTED_MS too early.

/**
 * Reads the messages after a position, or the last messages.
 *
 * Keys: the hash and the stream. Arguments: the epoch, or `*` for the last messages; the offset, or how many; the maximum number of
 * messages and of bytes.
 *
 * Answers nothing if there is no history. Otherwise: the epoch, the offset of the end, the gap (empty: none), the offset before the first
 * entry, the ends of former epochs unless the position is of the current one, and for each entry the last offset, the number of messages, and the payloads.
 */
export const READ_SCRIPT = `${COMMON}
local hash, stream = KEYS[1], KEYS[2]
local askedEpoch, asked, most, mostBytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local state = read('HMGET', hash, 'epoch', 'offset', 'run', 'former', 'ttl') or {}
local epoch = state[1]
local last = known(epoch, state[2])
if not last then return {} end

local ttl = whole(state[5])
local old = ttl and lastOld(stream, now() - ttl, last)
local oldest = first(stream, old and text(old + 1) or '-')
local floor, looks = last, 0
local function isTooMuch()
  looks = looks + 1
  return looks > 5000
end
while oldest and idOf(oldest) <= last do
  if isTooMuch() then return {'too much in the stream is not of this library'} end
  local offset, count = parse(oldest)
  if offset then
    floor = math.min(last, offset - count)
    break
  end
  oldest = first(stream, text(idOf(oldest) + 1))
end

local start, gap = asked, ''
if askedEpoch == '*' then start = math.max(floor, last - asked)
else
  if askedEpoch ~= '' and askedEpoch ~= epoch then
    local ended
    for itsEpoch, offset in string.gmatch(state[4] or '', '(%w+):(%d+)') do
      if itsEpoch == askedEpoch then ended = tonumber(offset) end
    end
    if ended then start = math.min(start, ended) else gap = 'epoch' end
  elseif asked > last then
    -- Another process has lost the latest entries, and has appended nothing yet. The position stays: lost messages may still be under way.
    if askedEpoch == '' or state[3] == master() then gap = 'future' end
  end
  if gap ~= '' then start = floor
  elseif start < floor then gap, start = 'trimmed', floor end
end

local entries, at, from, bytes = {}, start, start + 1, 0
while at < last and at - start < most and bytes < mostBytes do
  local entry = first(stream, text(from))
  if entry and idOf(entry) > last then entry = nil end
  local offset, count, _, payloads
  if entry then
    offset, count, _, payloads = parse(entry)
    from = idOf(entry) + 1
  end
  if entry and not offset and isTooMuch() then
    if #entries > 0 then break end
    return {'too much in the stream is not of this library'}
  end
  if not entry or (offset and offset - count > at) then
    -- Missing entries: the next read begins after them, with a gap.
    if #entries > 0 then break end
    if gap == '' and askedEpoch ~= '*' then gap = 'trimmed' end
    start = entry and offset - count or last
    at = start
  end
  if offset and offset > at then
    entries[#entries + 1], entries[#entries + 2], entries[#entries + 3] = text(offset), text(count), payloads
    at, bytes = offset, bytes + #payloads
  end
end
local answer = {epoch, text(last), gap, text(start), askedEpoch ~= epoch and state[4] or ''}
for i = 1, #entries do answer[5 + i] = entries[i] end
return answer
`;

/**
 * Lists the channels of some parts that were posted to after a time.
 *
 * Keys: their sorted sets. Arguments: a name that no set ever had; then for each key the expected name of the set and the time, or two
 * empty arguments.
 *
 * Answers for each key a list: the name of the set, the current time, the channels, and 1; or 0 if the set has another name or does not
 * reach back far enough, so that some may be missing.
 */
export const CHANGES_SCRIPT = `${COMMON}
local answers, time = {}, now()
for i, key in ipairs(KEYS) do
  local asked, since = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  local found = read('ZRANGEBYSCORE', key, 0, 0)
  local name = found and found[1]
  if not name then
    if not found then redis.call('DEL', key) end
    name = ARGV[1]
    redis.call('ZADD', key, 0, name)
  end
  redis.call('PEXPIRE', key, ${CHANGES_KEPT_MS})
  local channels, isWhole = {}, 1
  if asked ~= '' then
    channels = redis.call('ZRANGEBYSCORE', key, text(math.max(1, since - ${NOTED_MS})), '+inf')
    if asked ~= name or since <= time - ${CHANGES_REACH_MS} then isWhole = 0 end
  end
  answers[i] = {name, text(time), channels, isWhole}
end
return answers
`;

/**
 * Tells how far channels of one slot have come. Whoever asks reads them, so their hashes live on: otherwise the next post to a quiet
 * channel would begin another history, a loss to readers that have missed nothing. Each server asks every few seconds, so a hash is only
 * written if half of its life has passed.
 *
 * Keys: the hashes. Answers for each the epoch and the offset, if there are any.
 */
export const POSITIONS_SCRIPT = `${WHOLE}
local clock = redis.call('TIME')
local time, answers = clock[1] * 1000 + math.floor(clock[2] / 1000), {}
for i, hash in ipairs(KEYS) do
  local state = redis.pcall('HMGET', hash, 'epoch', 'offset', 'ttl', 'keptTo')
  if state.err then
    if not string.find(state.err, 'WRONGTYPE', 1, true) then return state end
    state = {}
  end
  local ttl, keptTo = whole(state[3]), whole(state[4])
  if ttl then
    local life = ${LIFE}
    -- Absent after posts alone. It may be too late after a clock was set back, or if the channel had a longer life before.
    if not keptTo or keptTo < time + life / 2 or keptTo > time + life then
      -- If Redis refuses writes now, it still answers.
      local isKept = redis.pcall('PEXPIRE', hash, string.format('%.0f', life))
      if isKept == 1 then redis.pcall('HSET', hash, 'keptTo', string.format('%.0f', time + life)) end
    end
  end
  answers[i] = {state[1], state[2]}
end
return answers
`;

/**
 * Finds the offset of a history at a time; or an earlier offset, before the messages since then that are missing.
 *
 * Keys: the hash and the stream. Argument: the time. Answers nothing if there is no history; else the epoch and the offset.
 */
export const POSITION_SCRIPT = `${COMMON}
local hash, stream, at = KEYS[1], KEYS[2], tonumber(ARGV[1])
local state = read('HMGET', hash, 'epoch', 'offset', 'ttl', 'most') or {}
local last = known(state[1], state[2])
if not last then return {} end
local old = lastOld(stream, at, last)
if old then return {state[1], text(old)} end
local oldest = first(stream, '-')
local offset, count
if oldest then offset, count = parse(oldest) end
local floor = offset and offset <= last and offset - count or last
local ttl, most = whole(state[3]), whole(state[4])
-- Old entries were removed before that time. A removal by count left the maximum number of messages.
local isWhole = floor == 0 or (ttl and most and at > now() - ttl and last - floor < most)
return {state[1], text(isWhole and floor or floor - 1)}
`;

/** Tries each command that the scripts call. Answers pairs: a command that Redis refuses, and why. Keys: one that does not exist. */
export const CHECK_SCRIPT = `
local refused = {}
local function try(name, ...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = name
    refused[#refused + 1] = answer.err
  end
end
local key = KEYS[1]
try('INFO', 'INFO', 'replication')
try('TIME', 'TIME')
try('GET', 'GET', key)
try('HMGET', 'HMGET', key, 'epoch')
try('XADD', 'XADD', key, '1-0', 'n', 1)
try('XTRIM … MINID', 'XTRIM', key, 'MINID', '1')
try('XRANGE', 'XRANGE', key, '-', '+', 'COUNT', 1)
try('PEXPIRE', 'PEXPIRE', key, 1000)
try('DEL', 'DEL', key)
try('HSET', 'HSET', key, 'epoch', '')
try('DEL', 'DEL', key)
try('ZADD', 'ZADD', key, 0, '')
try('ZRANGEBYSCORE', 'ZRANGEBYSCORE', key, 0, 0)
try('ZREMRANGEBYSCORE', 'ZREMRANGEBYSCORE', key, 0, 0)
try('DEL', 'DEL', key)
try('SET … PX', 'SET', key, '', 'PX', 1)
try(ARGV[1], ARGV[1], ARGV[2], '')
return refused
`;
