// The scripts for histories, each of which Redis runs in one step. A channel has a hash (how far it has come) and a stream. Each entry of
// the stream is a batch: its id is `<offset of the last message>-0`, its fields are n (the number of messages), t (the time in
// milliseconds) and p (the payloads, joined by line breaks). The channels in one slot share a sorted set with the time of the latest post
// to each channel, at most NOTED_MS too early.

/** The time of a post to a channel is updated after this interval, in milliseconds. */
const NOTED_MS = 10_000;

/** How far back it is known which channels were posted to, in milliseconds. */
const CHANGES_REACH_MS = 24 * 3_600_000;

/** How long the record of a part is kept without posts and requests, in milliseconds. */
const CHANGES_KEPT_MS = 3 * CHANGES_REACH_MS;

/** Shared by the scripts. */
const COMMON = `
local function text(number) return string.format('%.0f', number) end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Another master may have lost the latest entries of this one, and so may this process after some time as a replica. So each master
-- appends under its own epoch. A Redis gets this id when it starts and whenever it becomes master.
local function master()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- a number that is not exact counts as absent
local function whole(digits)
  local number = digits and #digits <= 16 and string.match(digits, '^%d+$') and tonumber(digits)
  if number and number <= 9007199254740991 then return number end
end

-- nothing if the key holds another type
local function read(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then return redis.call(...) end
end

-- last offset, count, time and payloads of an entry; nothing if this library has not written it
local function parse(entry)
  local last, fields = whole(string.match(entry[1], '^(%d+)%-0$')), entry[2]
  if not last or #fields ~= 6 or fields[1] ~= 'n' or fields[3] ~= 't' or fields[5] ~= 'p' then return end
  local count, time = whole(fields[2]), whole(fields[4])
  if count and time and count >= 1 and count <= last then return last, count, time, fields[6] end
end

local function first(stream, from)
  local entries = read('XRANGE', stream, from, '+', 'COUNT', 1)
  return entries and entries[1]
end

local function isOld(entry, before)
  local _, _, time = parse(entry)
  return not time or time <= before
end

local function idOf(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- the last entry that is too old, by binary search, since each read includes the payloads
local function lastOld(stream, before, last)
  local entry = first(stream, '-')
  if not entry or idOf(entry) > last or not isOld(entry, before) then return nil end
  local old, kept = idOf(entry), last + 1
  while old < kept - 1 do
    local middle = old + math.floor((kept - old) / 2)
    entry = first(stream, text(middle))
    if entry and isOld(entry, before) and idOf(entry) < kept then old = math.max(middle, idOf(entry)) else kept = middle end
  end
  return old
end

local function known(epoch, offset)
  return epoch and #epoch <= 40 and string.match(epoch, '^%w+$') and whole(offset)
end
`;

/**
 * Appends a batch and publishes it.
 *
 * Keys: the hash, the stream, the record of the appender, the sorted set, and one for each post with an id. Arguments: an epoch that was
 * never used; the master, if it is known; the number of the batch among those of the appender; how long to remember it; how many messages
 * to keep, and for how long; the Redis channel; the number of posts; the channel; and their payloads. If no post has an id, these are
 * joined by line breaks; otherwise each is an argument, followed by the digest or an empty one.
 *
 * Answers `ok`, the epoch, the offsets, the error of PUBLISH if there was one, and the master; or `stale` for a batch before the
 * appender's last one. The offsets are the first one if all posts were appended; otherwise one for each post, `x` for a post whose id
 * has another digest.
 */
export const APPEND_SCRIPT = `${COMMON}
local hash, stream, appender, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local candidate, here, number, rememberMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local most, ttl, channel, count, name, payloads = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]), ARGV[9], ARGV[10]
local time = now()
-- Asking for the master is a third of the cost of a batch. Within one millisecond no Redis can become a replica, copy everything from
-- another one, and become master again; within ten it can.
local asked
here, asked = string.match(here, '^(%w+) (%d+)$')
if asked ~= text(time) then here, asked = master(), text(time) end
local told = here .. ' ' .. asked

local made = read('GET', appender)
if made then
  local last, epoch, places = string.match(made, '^(%d+) (%w+) (%S+)$')
  if last and tonumber(last) == number then return {'ok', epoch, places, '', told} end
  if last and tonumber(last) > number then return {'stale'} end
end

local state = read('HMGET', hash, 'epoch', 'offset', 'run', 'root', 'sweepAt', 'ttl', 'noted') or {}
local epoch, root, sweepAt, noted, former = state[1], state[4], whole(state[5]), whole(state[7]), nil
local offset = known(epoch, state[2])
local isNew = not sweepAt
if not offset or not whole(text(offset + count)) or not root or not string.match(root, '^%w+$') then
  redis.call('DEL', hash, stream)
  epoch, offset, former, root, isNew = candidate, 0, '', candidate, true
elseif state[3] ~= here then
  -- A reader at an end that is no longer kept has a gap in any case.
  local oldest = first(stream, '-')
  local its, count = nil, 0
  if oldest then its, count = parse(oldest) end
  local floor, ends = its and its - count or 0, {epoch .. ':' .. text(offset)}
  for each, its in string.gmatch(redis.call('HMGET', hash, 'former')[1] or '', '(%w+:(%d+))') do
    if #ends < 64 and tonumber(its) >= floor then ends[#ends + 1] = each end
  end
  epoch, former, isNew = candidate, table.concat(ends, ' '), true
end

local places, names = text(offset + 1), {}
if #KEYS > 4 then
  local lines, all, nextKey = {}, {}, 5
  for i = 1, count do
    local payload, digest, place = ARGV[8 + 2 * i], ARGV[9 + 2 * i], nil
    if digest ~= '' then
      local key = KEYS[nextKey]
      nextKey = nextKey + 1
      local itsRoot, itsOffset, itsDigest = string.match(names[key] or read('GET', key) or '', '^(%w+) (%d+) (%S+)$')
      if itsRoot and itsRoot == root then place = itsDigest == digest and itsOffset or 'x'
      else names[key] = root .. ' ' .. text(offset + #lines + 1) .. ' ' .. digest end
    end
    if not place then
      lines[#lines + 1] = payload
      place = text(offset + #lines)
    end
    all[i] = place
  end
  payloads, places, count = table.concat(lines, '\\n'), table.concat(all, ','), #lines
  if count == 0 then return {'ok', state[1], places, '', told} end
end

-- Comes first: if Redis refuses this, nothing is appended.
local isDue = isNew or not noted or time >= noted + ${NOTED_MS} or time < noted
if isDue then
  local set = redis.pcall('ZADD', changes, text(time), name)
  if type(set) == 'table' and set.err then
    if not string.find(set.err, 'WRONGTYPE') then return set end
    redis.call('DEL', changes)
    redis.call('ZADD', changes, text(time), name)
  end
  redis.call('ZREMRANGEBYSCORE', changes, '(0', text(time - ${CHANGES_REACH_MS}))
  redis.call('PEXPIRE', changes, ${CHANGES_KEPT_MS})
end

local last = offset + count
local entry = {'XADD', stream, text(last) .. '-0', 'n', count, 't', text(time), 'p', payloads}
local added = redis.pcall(unpack(entry))
if type(added) == 'table' and added.err then
  -- Another program has written to it.
  if not string.find(added.err, 'smaller than the target') and not string.find(added.err, 'exhausted') and not string.find(added.err, 'WRONGTYPE') then return added end
  redis.call('DEL', stream)
  redis.call(unpack(entry))
  isNew = true
end
-- Each call costs time of Redis, so occasional work is not done with every batch.
local step = math.max(16, math.floor(most / 16))
if math.floor(last / step) > math.floor(offset / step) and last > most then
  redis.call('XTRIM', stream, 'MINID', text(last - most + 1))
end
if isNew or state[6] ~= ARGV[6] or time >= sweepAt or time < sweepAt - ttl then
  local old = lastOld(stream, time - ttl, last)
  if old then redis.call('XTRIM', stream, 'MINID', text(old + 1)) end
  local pause = math.ceil(ttl / 16)
  redis.call('HSET', hash, 'epoch', epoch, 'offset', text(last), 'run', here, 'root', root, 'ttl', ttl, 'most', most, 'sweepAt', text(time + pause), 'noted', text(isDue and time or noted))
  if former then redis.call('HSET', hash, 'former', former) end
  redis.call('PEXPIRE', stream, ttl + pause)
  redis.call('PEXPIRE', hash, text(math.max(2 * ttl, 86400000)))
elseif isDue then redis.call('HSET', hash, 'offset', text(last), 'noted', text(time))
else redis.call('HSET', hash, 'offset', text(last)) end
redis.call('SET', appender, text(number) .. ' ' .. epoch .. ' ' .. places, 'PX', rememberMs)
for key, value in pairs(names) do redis.call('SET', key, value, 'PX', ttl) end
local head = '\\n{"history":{"epoch":"' .. epoch .. '","offset":' .. text(offset + 1) .. ',"count":' .. text(count) .. '}}\\n'
local text, published = head .. payloads, nil
local own, headed, any, name = string.match(channel, '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n(.*)$')
if own then
  published = redis.pcall('SPUBLISH', own, text)
  if headed ~= '' then redis.pcall('SPUBLISH', headed, name .. '\\n' .. text) end
  redis.pcall('SPUBLISH', any, name .. '\\n' .. text)
else published = redis.pcall('PUBLISH', channel, text) end
return {'ok', epoch, places, type(published) == 'table' and published.err or '', told}
`;

/**
 * Reads the messages after a position, or the last messages.
 *
 * Keys: the hash and the stream. Arguments: the epoch, or `*` for the last messages; the offset, or how many; the maximum number of
 * messages and of bytes.
 *
 * Answers nothing if there is no history. Otherwise: the epoch, the offset of the end, the gap (empty: none), the offset before the first
 * entry, and for each entry the last offset, the number of messages, and the payloads.
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
local answer = {epoch, text(last), gap, text(start)}
for i = 1, #entries do answer[4 + i] = entries[i] end
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
