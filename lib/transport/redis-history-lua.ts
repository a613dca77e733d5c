// What the scripts for histories share.

/** The time of a post to a channel is updated after this interval, in milliseconds. */
export const NOTED_MS = 10_000;

/** How far back it is known which channels were posted to, in milliseconds. */
export const CHANGES_REACH_MS = 24 * 3_600_000;

/** How long the record of a part is kept without posts and requests, in milliseconds. */
export const CHANGES_KEPT_MS = 3 * CHANGES_REACH_MS;

/** Lua: how long the hash of a channel is kept without posts and readers, in milliseconds; `ttl` is that of its messages. */
export const LIFE = 'math.max(2 * ttl, 86400000)';

/** Lua: writes a whole number in digits. */
export const TEXT = `local function text(number) return string.format('%.0f', number) end`;

/** Lua: the id of this Redis as a master. */
export const MASTER = `
-- Another master may have lost the latest entries of this one, and so may this process after some time as a replica. So each master
-- appends under its own epoch. A Redis gets this id when it starts and whenever it becomes master.
local function master()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end`;

/** Lua: reads a whole number. */
export const WHOLE = `
-- a number that is not exact counts as absent
local function whole(digits)
  local number = digits and #digits <= 16 and string.match(digits, '^%d+$') and tonumber(digits)
  if number and number <= 9007199254740991 then return number end
end`;

/** Lua: the functions that scripts share. Each costs time whenever it is made. */
export const COMMON = `
${TEXT}

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

${MASTER}

${WHOLE}

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
