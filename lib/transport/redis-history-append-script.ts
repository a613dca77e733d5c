import { MAX_PUBLISH_TIMEOUT_MS } from './redis-connection-options.js';
import { CHANGES_KEPT_MS, CHANGES_REACH_MS, COMMON, LIFE, MASTER, NOTED_MS, TEXT, WHOLE } from './redis-history-lua.js';

/**
 * How long the last batches of an appender are remembered, in milliseconds: at most, and at least three quarters of it. That is a fifth more
 * than the time in which a batch may be tried again.
 */
export const REMEMBER_MS = 1.6 * MAX_PUBLISH_TIMEOUT_MS;

/**
 * Appends a batch and publishes it.
 *
 * Keys: the hash, the stream, the record of the appender, the sorted set, and one for each post with an id. Arguments: an epoch that was
 * never used; the master, and the time when it was asked for, if they are known; the number of the batch among those of the appender; if
 * another batch of the appender must come right before it, that one's number, and the lowest number that may be tried again; how many
 * messages to keep, and for how long; the Redis channel; the number of posts; and their payloads. If no post has an id, these are joined by
 * line breaks; otherwise each is an argument, followed by the digest or an empty one.
 *
 * Answers `ok`, the epoch, the offsets, the time when the master was asked for, the master, and the error of PUBLISH if there was one, with
 * spaces between. Or `stale` for a batch before the appender's last one, or `early` if another one had to come before it; both append
 * nothing. The offsets are the first one if all posts were appended; otherwise one for each post, with commas between, `x` for a post whose
 * id has another digest.
 *
 * Redis computes a hash over each byte of each text that Lua makes, and each function costs time whenever it is made. So there are few of
 * both, except in the branches for what is rare.
 */
export const APPEND_SCRIPT = `
local call, try, find, match = redis.call, redis.pcall, string.find, string.match
local hash, stream, appender, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local candidate, here, number, most, ttl, channel, counted, payloads = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
local count = tonumber(counted)
${WHOLE}
local clock = call('TIME')
local time = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%.0f', time)
-- Asking for the master is a third of the cost of a batch. Within one millisecond no Redis can become a replica, copy everything from
-- another one, and become master again; within ten it can.
if ARGV[3] ~= stamp then
  ${MASTER}
  here = master()
end

-- Its record: since when it has its time to live, and for each batch a line, the latest one first.
local made, since, record = try('GET', appender), nil, ''
if type(made) == 'table' and not find(made.err, 'WRONGTYPE', 1, true) then return made end
local latest
if type(made) == 'string' then
  since, latest = match(made, '^(%d+)\\n(%d+) ')
  latest = tonumber(latest)
end
if latest and latest >= number then
  local epoch, places = match(made, '\\n' .. ARGV[4] .. ' (%w+) (%S+)')
  if epoch then return 'ok ' .. epoch .. ' ' .. places .. ' ' .. stamp .. ' ' .. here end
  return 'stale'
end
if ARGV[5] ~= '' then
  local before, oldest = match(ARGV[5], '^(%d+) (%d+)$')
  if latest ~= tonumber(before) then return 'early' end
  for line, its in string.gmatch(made, '(\\n(%d+) [^\\n]*)') do
    if tonumber(its) >= tonumber(oldest) then record = record .. line end
  end
end

local state = try('HMGET', hash, 'epoch', 'offset', 'run', 'root', 'sweepAt', 'ttl', 'noted')
if state.err then
  if not find(state.err, 'WRONGTYPE', 1, true) then return state end
  state = {}
end
local epoch, offset, root, sweepAt, noted, former = state[1], whole(state[2]), state[4], whole(state[5]), whole(state[7]), nil
local isNew = not sweepAt
if not offset or offset + count > 9007199254740991 or not epoch or #epoch > 40 or not find(epoch, '^%w+$') or not root or not find(root, '^%w+$') then
  call('DEL', hash, stream)
  epoch, offset, former, root, isNew = candidate, 0, '', candidate, true
elseif state[3] ~= here then
  ${COMMON}
  -- A reader at an end that is no longer kept has a gap in any case.
  local oldest = first(stream, '-')
  local its, count = nil, 0
  if oldest then its, count = parse(oldest) end
  local floor, ends = its and its - count or 0, {epoch .. ':' .. text(offset)}
  for each, its in string.gmatch(call('HMGET', hash, 'former')[1] or '', '(%w+:(%d+))') do
    if #ends < 64 and tonumber(its) >= floor then ends[#ends + 1] = each end
  end
  epoch, former, isNew = candidate, table.concat(ends, ' '), true
end

local start = string.format('%.0f', offset + 1)
local places, names = start, nil
if #KEYS > 4 then
  ${TEXT}
  local lines, all, nextKey = {}, {}, 5
  names = {}
  for i = 1, count do
    local payload, digest, place = ARGV[8 + 2 * i], ARGV[9 + 2 * i], nil
    if digest ~= '' then
      local key = KEYS[nextKey]
      nextKey = nextKey + 1
      local known = names[key] or try('GET', key)
      if type(known) == 'table' then
        if not find(known.err, 'WRONGTYPE', 1, true) then return known end
        known = nil
      end
      local itsRoot, itsOffset, itsDigest = match(known or '', '^(%w+) (%d+) (%S+)$')
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
  if count == 0 then
    -- Batches behind this one expect it there. If Redis refuses this, they are tried again.
    try('SET', appender, stamp .. '\\n' .. ARGV[4] .. ' ' .. state[1] .. ' ' .. places .. record, 'PX', ${REMEMBER_MS})
    return 'ok ' .. state[1] .. ' ' .. places .. ' ' .. stamp .. ' ' .. here
  end
  counted = text(count)
end

-- Comes first: if Redis refuses this, nothing is appended.
local isDue = isNew or not noted or time >= noted + ${NOTED_MS} or time < noted
if isDue then
  local name = match(hash, '^[^}]*}h|(.*)$')
  local set = try('ZADD', changes, stamp, name)
  if type(set) == 'table' and set.err then
    if not find(set.err, 'WRONGTYPE') then return set end
    call('DEL', changes)
    call('ZADD', changes, stamp, name)
  end
  call('ZREMRANGEBYSCORE', changes, '(0', string.format('%.0f', time - ${CHANGES_REACH_MS}))
  call('PEXPIRE', changes, ${CHANGES_KEPT_MS})
end

local last = offset + count
local lastText = count == 1 and start or string.format('%.0f', last)
local added = try('XADD', stream, lastText, 'n', counted, 't', stamp, 'p', payloads)
if type(added) == 'table' and added.err then
  -- Another program has written to it.
  if not find(added.err, 'smaller than the target') and not find(added.err, 'exhausted') and not find(added.err, 'WRONGTYPE') then return added end
  call('DEL', stream)
  call('XADD', stream, lastText, 'n', counted, 't', stamp, 'p', payloads)
  isNew = true
end
-- Each call costs time of Redis, so occasional work is not done with every batch.
if last > most then
  local step = math.max(16, math.floor(most / 16))
  if last % step < count then call('XTRIM', stream, 'MINID', string.format('%.0f', last - most + 1)) end
end
if isNew or state[6] ~= ARGV[7] or time >= sweepAt or time < sweepAt - ttl then
  ${COMMON}
  local old = lastOld(stream, time - ttl, last)
  if old then call('XTRIM', stream, 'MINID', text(old + 1)) end
  local pause = math.ceil(ttl / 16)
  call('HSET', hash, 'epoch', epoch, 'offset', lastText, 'run', here, 'root', root, 'ttl', ttl, 'most', most, 'sweepAt', text(time + pause), 'noted', text(isDue and time or noted))
  if former then call('HSET', hash, 'former', former) end
  call('PEXPIRE', stream, ttl + pause)
  call('PEXPIRE', hash, text(${LIFE}))
elseif isDue then call('HSET', hash, 'offset', lastText, 'noted', stamp)
else call('HSET', hash, 'offset', lastText) end
record = '\\n' .. ARGV[4] .. ' ' .. epoch .. ' ' .. places .. record
-- A new time to live costs more than the rest of a SET.
if since and time < since + ${REMEMBER_MS / 4} and time >= tonumber(since) then call('SET', appender, since .. record, 'KEEPTTL')
else call('SET', appender, stamp .. record, 'PX', ${REMEMBER_MS}) end
if names then
  for key, value in pairs(names) do call('SET', key, value, 'PX', ttl) end
end
local message, published = '\\n{"history":{"epoch":"' .. epoch .. '","offset":' .. start .. ',"count":' .. counted .. '}}\\n' .. payloads, nil
if find(channel, '\\n', 1, true) then
  local own, headed, any, name = match(channel, '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n(.*)$')
  published = try('SPUBLISH', own, message)
  message = name .. '\\n' .. message
  if headed ~= '' then try('SPUBLISH', headed, message) end
  try('SPUBLISH', any, message)
else published = try('PUBLISH', channel, message) end
local answer = 'ok ' .. epoch .. ' ' .. places .. ' ' .. stamp .. ' ' .. here
return type(published) == 'table' and answer .. ' ' .. published.err or answer
`;
