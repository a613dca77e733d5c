// What Redis does of a history in one step. A channel has a hash (how far it has come) and a stream, of which each entry is
// a batch: its id is `<offset of the last message>-0`, its fields are n (how many messages), t (when, in milliseconds) and
// p (their payloads, joined by line breaks).

/** Shared by both scripts. */
const COMMON = `
local function text(number) return string.format('%.0f', number) end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Another process may have lost the tail of what this one had: what it appends has another epoch.
local function process() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end

-- last offset, count, time and payloads of an entry; nothing of one that is not ours
local function parse(entry)
  local id, fields = string.match(entry[1], '^(%d+)%-0$'), entry[2]
  if not id or #fields ~= 6 or fields[1] ~= 'n' or fields[3] ~= 't' or fields[5] ~= 'p' then return end
  local last, count, time = tonumber(id), tonumber(fields[2]), tonumber(fields[4])
  if count and time and count >= 1 and count <= last then return last, count, time, fields[6] end
end

local function first(stream, from)
  return redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
end

local function isOld(entry, before)
  local _, _, time = parse(entry)
  return not time or time <= before
end

local function idOf(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- the last of the entries that are too old, by halving, since payloads are read with them
local function lastOld(stream, before, last)
  local entry = first(stream, '-')
  if not entry or not isOld(entry, before) then return nil end
  local old, kept = idOf(entry), last + 1
  while old < kept - 1 do
    local middle = math.floor((old + kept) / 2)
    entry = first(stream, text(middle))
    if entry and isOld(entry, before) and idOf(entry) < kept then old = math.max(middle, idOf(entry)) else kept = middle end
  end
  return old
end

local function known(epoch, offset)
  offset = offset and tonumber(offset)
  return epoch and offset and #epoch <= 40 and string.match(epoch, '^%w+$') and offset
end
`;

/**
 * Appends a batch and publishes it.
 *
 * Keys: the hash, the stream, what is remembered of the appender, and one for each post that has an id. Arguments: an epoch
 * that was never used, the process of Redis if it is known, the number of the batch among those of the appender, how long it is
 * remembered, how many messages are kept, how long, the Redis channel, how many posts there are, and their payloads: joined by line breaks if no post has an id, else each in
 * an argument, with one behind it that is empty or the digest.
 *
 * Answers `ok`, the epoch, the offsets, the error of PUBLISH, if there was one, and the process of Redis; or `stale` for a batch before the last one of the appender.
 * The offsets are that of the first if all were appended, else one for each post, `x` for one whose id has another digest.
 */
export const APPEND_SCRIPT = `${COMMON}
local hash, stream, appender = KEYS[1], KEYS[2], KEYS[3]
local candidate, here, number, rememberMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local most, ttl, channel, count, payloads = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]), ARGV[9]
if here == '' then here = process() end

local made = redis.call('GET', appender)
if made then
  local last, epoch, places = string.match(made, '^(%d+) (%w+) (%S+)$')
  if last and tonumber(last) == number then return {'ok', epoch, places, '', here} end
  if last and tonumber(last) > number then return {'stale'} end
end

local state = redis.call('HMGET', hash, 'epoch', 'offset', 'run', 'former', 'root', 'sweepAt', 'ttl')
local epoch, run, former, root = state[1], state[3], state[4] or '', state[5]
local offset = known(epoch, state[2])
local time, isNew = now(), false
if not offset then
  epoch, offset, former, root, isNew = candidate, 0, '', candidate, true
  if redis.call('EXISTS', stream) == 1 then redis.call('DEL', stream) end
elseif run ~= here then
  local ends = {epoch .. ':' .. text(offset)}
  for each in string.gmatch(former, '%S+') do if #ends < 8 then ends[#ends + 1] = each end end
  epoch, former, isNew = candidate, table.concat(ends, ' '), true
end

local places, names = text(offset + 1), {}
if #KEYS > 3 then
  local lines, all, nextKey = {}, {}, 4
  for i = 1, count do
    local payload, digest, place = ARGV[7 + 2 * i], ARGV[8 + 2 * i], nil
    if digest ~= '' then
      local key = KEYS[nextKey]
      nextKey = nextKey + 1
      local itsRoot, itsOffset, itsDigest = string.match(names[key] or redis.call('GET', key) or '', '^(%w+) (%d+) (%S+)$')
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
  if count == 0 then return {'ok', state[1], places, '', here} end
end

local last = offset + count
local entry = {'XADD', stream, text(last) .. '-0', 'n', count, 't', text(time), 'p', payloads}
local added = redis.pcall(unpack(entry))
if type(added) == 'table' and added.err then
  -- Somebody else has written to it.
  if not string.find(added.err, 'smaller than the target') and not string.find(added.err, 'exhausted') then return added end
  redis.call('DEL', stream)
  redis.call(unpack(entry))
  isNew = true
end
-- Each call takes Redis' time: what may be done now and then is not done with each batch.
local step = math.max(16, math.floor(most / 16))
if math.floor(last / step) > math.floor(offset / step) and last > most then
  redis.call('XTRIM', stream, 'MINID', text(last - most + 1))
end
if isNew or state[7] ~= ARGV[6] or time >= tonumber(state[6] or 0) or time < tonumber(state[6] or 0) - ttl then
  local old = lastOld(stream, time - ttl, last)
  if old then redis.call('XTRIM', stream, 'MINID', text(old + 1)) end
  local pause = math.ceil(ttl / 16)
  redis.call('HSET', hash, 'epoch', epoch, 'offset', text(last), 'run', here, 'former', former, 'root', root, 'ttl', ttl, 'sweepAt', text(time + pause))
  redis.call('PEXPIRE', stream, ttl + pause)
  redis.call('PEXPIRE', hash, text(math.max(2 * ttl, 86400000)))
else redis.call('HSET', hash, 'offset', text(last)) end
redis.call('SET', appender, text(number) .. ' ' .. epoch .. ' ' .. places, 'PX', rememberMs)
for key, value in pairs(names) do redis.call('SET', key, value, 'PX', ttl) end
local head = '\\n{"history":{"epoch":"' .. epoch .. '","offset":' .. text(offset + 1) .. ',"count":' .. text(count) .. '}}\\n'
local published = redis.pcall('PUBLISH', channel, head .. payloads)
return {'ok', epoch, places, type(published) == 'table' and published.err or '', here}
`;

/**
 * Reads what comes after a position, or the last messages.
 *
 * Keys: the hash and the stream. Arguments: the epoch, `*` for the last messages; the offset, or how many; the most messages
 * and the most bytes.
 *
 * Answers nothing if there is no history; else the epoch, the offset of the end, the gap (empty: none), after which offset
 * the entries begin, and of each entry the last offset, how many messages, and the payloads.
 */
export const READ_SCRIPT = `${COMMON}
local hash, stream = KEYS[1], KEYS[2]
local askedEpoch, asked, most, mostBytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local state = redis.call('HMGET', hash, 'epoch', 'offset', 'run', 'former', 'ttl')
local epoch = state[1]
local last = known(epoch, state[2])
if not last then return {} end

local old = lastOld(stream, now() - tonumber(state[5] or 0), last)
local oldest = first(stream, old and text(old + 1) or '-')
local floor = last
while oldest do
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
    -- Another process has lost the tail, and has appended nothing yet.
    if askedEpoch ~= '' and state[3] ~= process() then start = last else gap = 'future' end
  end
  if gap ~= '' then start = floor
  elseif start < floor then gap, start = 'trimmed', floor end
end

local entries, at, from, bytes, looks = {}, start, start + 1, 0, 0
while at < last and at - start < most and bytes < mostBytes do
  local entry = first(stream, text(from))
  looks = looks + 1
  if looks > 5000 and #entries == 0 then return redis.error_reply('HISTORY too much in the stream is not of this library') end
  local offset, count, _, payloads
  if entry then
    offset, count, _, payloads = parse(entry)
    from = idOf(entry) + 1
  end
  if not entry or (offset and (offset > last or offset - count > at)) then
    -- A hole: what is behind it is read next, and is behind a gap.
    if #entries > 0 then break end
    if gap == '' and askedEpoch ~= '*' then gap = 'trimmed' end
    start = (entry and offset <= last) and offset - count or last
    at = start
  end
  if offset and offset > at and offset <= last then
    entries[#entries + 1], entries[#entries + 2], entries[#entries + 3] = text(offset), text(count), payloads
    at, bytes = offset, bytes + #payloads
  end
end
local answer = {epoch, text(last), gap, text(start)}
for i = 1, #entries do answer[4 + i] = entries[i] end
return answer
`;

/** What the scripts call, each tried once: answers pairs of a command that Redis refuses and why. Keys: one that is not there. */
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
try('INFO', 'INFO', 'server')
try('TIME', 'TIME')
try('GET', 'GET', key)
try('HMGET', 'HMGET', key, 'epoch')
try('EXISTS', 'EXISTS', key)
try('XADD', 'XADD', key, '1-0', 'n', 1)
try('XTRIM … MINID', 'XTRIM', key, 'MINID', '1')
try('XRANGE', 'XRANGE', key, '-', '+', 'COUNT', 1)
try('PEXPIRE', 'PEXPIRE', key, 1000)
try('DEL', 'DEL', key)
try('HSET', 'HSET', key, 'epoch', '')
try('DEL', 'DEL', key)
try('SET … PX', 'SET', key, '', 'PX', 1)
try('PUBLISH', 'PUBLISH', ARGV[1], '')
return refused
`;
