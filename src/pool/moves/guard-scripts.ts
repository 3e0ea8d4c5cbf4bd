/**
 * The Lua scripts of the fenced key walk. Each but GUARD first compares the caller's token with the server's `__kf:fence` and refuses when
 * they differ, so that what a dead mover sent late has no effect. The argument why this is enough: docs/protocol/pool-moves.md.
 */
import { createHash } from 'node:crypto';

/** Keys that begin so are ours: routers hide them from SCAN, KEYS and DBSIZE, and walks pass over them. */
export const RESERVED_PREFIX = '__kf:';
/** The token of the mover that may change this server. */
export const FENCE_KEY = '__kf:fence';

/** The set of keys that are being copied: their writes wait. */
export const busyKey = (moveId: string): string => `__kf:busy:${moveId}`;
/** Exists on the source from the moment when a key missing there is to be looked for at the target. */
export const openKey = (moveId: string): string => `__kf:open:${moveId}`;
/** Stands on new servers that have taken over from one that they were copies of, until the owner's map says so too. */
export const takenKey = (changeId: string): string => `__kf:taken:${changeId}`;
/** Where large keys are put together at the target. */
export const partPrefix = (moveId: string): string => `__kf:part:${moveId}:`;

/** Whether a key is one of ours, given as bytes or as text. */
export function isReservedKey(key: Uint8Array | string): boolean {
  if (typeof key === 'string') return key.startsWith(RESERVED_PREFIX);
  return key.length >= 5 && key[0] === 95 && key[1] === 95 && key[2] === 107 && key[3] === 102 && key[4] === 58;
}

/** A script with the digest that EVALSHA wants. */
export interface Script {
  readonly text: string;
  readonly sha: string;
}

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

const FENCED = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('KFFENCED another mover has taken over') end\n`;

const guards = new Map<string, Script>();

/**
 * GUARD, at the source: KEYS = the command's keys, then the busy set and the open mark; ARGV = 1 for a write, and 2 more for a reply of
 * RESP3, then the command.
 * A write to a busy key → KFBUSY; all keys missing → KFASK; some → KFMIX; else the command runs. As long as the move is not open, missing keys
 * are just missing. Every move has a text and so a digest of its own, and only the mover loads it: a source that restarted, or a replica that
 * became one, answers NOSCRIPT until the mover has seen to it, and routers wait.
 */
export function guardScript(moveId: string): Script {
  let found = guards.get(moveId);
  if (found === undefined) {
    found = script(`-- ${moveId}
local n = #KEYS - 2
local busy, open = KEYS[n + 1], KEYS[n + 2]
local mode = tonumber(ARGV[1])
if mode >= 2 then redis.setresp(3) end
if mode % 2 == 1 then
  for i = 1, n do
    if redis.call('SISMEMBER', busy, KEYS[i]) == 1 then return redis.error_reply('KFBUSY the key is on its way') end
  end
end
local missing = 0
for i = 1, n do missing = missing + 1 - redis.call('EXISTS', KEYS[i]) end
if missing > 0 and redis.call('EXISTS', open) == 1 then
  if missing == n then return redis.error_reply('KFASK the key is not here') end
  return redis.error_reply('KFMIX some keys are not here')
end
return redis.pcall(unpack(ARGV, 2))`);
    if (guards.size >= 1_000) guards.clear();
    guards.set(moveId, found);
  }
  return found;
}

/** So long a fence stands that its mover does not confirm. */
const UNCONFIRMED_MS = 10_000;

/**
 * FENCE: KEYS = fence; ARGV = token `n:random`. Sets it when its number is above the one there; answers the one that stands. It expires unless the mover,
 * once answered, makes it last (PERSIST under the token): one that a late packet sets, when all moves are over, goes by itself.
 */
export const FENCE_SCRIPT = script(`local now = redis.call('GET', KEYS[1])
local function number(token) return tonumber(string.match(token, '^(%d+)')) end
if not now or number(now) < number(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ${UNCONFIRMED_MS})
  return ARGV[1]
end
return now`);

/** KEYS = fence, open mark; ARGV = token. DEL goes first for the reason that LOCK gives. */
export const OPEN_SCRIPT = script(`${FENCED}redis.call('DEL', KEYS[2])
return redis.call('SET', KEYS[2], '1')`);

/**
 * LOCK, at the source: KEYS = fence, busy, keys; ARGV = token, byte budget, large bytes, large elements, most bytes, 1 for by type.
 * Marks keys busy until the budget is used and answers for each of these: {'gone'}, {'dump', expiry, payload}, {'page', expiry, type, elements}, or
 * {'over', bytes} for one that is above the most bytes and was not marked. Expiry: Unix ms, 0 for none.
 * SREM goes before SADD so that a source that is out of memory still lets keys leave: Redis refuses to grow only until a script has written.
 */
export const LOCK_SCRIPT =
  script(`${FENCED}local budget, largeBytes, largeCount, mostBytes, byType = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local COUNT = { list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN', string = 'STRLEN' }
local answers = {}
local used = 0
for i = 3, #KEYS do
  local key = KEYS[i]
  local kind = redis.call('TYPE', key)['ok']
  if kind == 'none' then
    redis.call('SREM', KEYS[2], key)
    answers[#answers + 1] = { 'gone' }
  else
    local bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 3)
    if type(bytes) ~= 'number' then bytes = 0 end
    local count = COUNT[kind] and redis.call(COUNT[kind], key) or 0
    if kind == 'string' then
      if count > bytes then bytes = count end
    end
    if bytes > mostBytes then
      answers[#answers + 1] = { 'over', bytes }
    else
      local page = COUNT[kind] and (byType or bytes > largeBytes or (kind ~= 'string' and count > largeCount))
      if used > 0 and not page and used + bytes > budget then break end
      redis.call('SREM', KEYS[2], key)
      redis.call('SADD', KEYS[2], key)
      local expiry = redis.pcall('PEXPIRETIME', key)
      if type(expiry) ~= 'number' then
        local left = redis.call('PTTL', key)
        local now = redis.call('TIME')
        expiry = left < 0 and -1 or now[1] * 1000 + math.floor(now[2] / 1000) + left
      end
      if expiry < 0 then expiry = 0 end
      if page then
        answers[#answers + 1] = { 'page', expiry, kind, count }
      else
        local payload = redis.call('DUMP', key)
        used = used + #payload
        answers[#answers + 1] = { 'dump', expiry, payload }
        if used >= budget then break end
      end
    end
  end
end
return answers`);

/** PUT, at the target: KEYS = fence, keys; ARGV = token, then expiry and payload of each. Answers '' or the error, for each. */
export const PUT_SCRIPT = script(`${FENCED}local answers = {}
for i = 2, #KEYS do
  local done = redis.pcall('RESTORE', KEYS[i], ARGV[2 * i - 2], ARGV[2 * i - 1], 'REPLACE', 'ABSTTL')
  answers[#answers + 1] = type(done) == 'table' and done['err'] or ''
end
return answers`);

/** COMMIT, at the source: KEYS = fence, busy, keys; ARGV = token. Removes those that were marked; answers how many. */
export const COMMIT_SCRIPT = script(`${FENCED}local count = 0
for i = 3, #KEYS do
  if redis.call('SREM', KEYS[2], KEYS[i]) == 1 then
    redis.call('UNLINK', KEYS[i])
    count = count + 1
  end
end
return count`);

/** Any command under the token: KEYS = fence, the command's keys; ARGV = token, the command. */
export const FENCED_SCRIPT = script(`${FENCED}return redis.call(unpack(ARGV, 2))`);

/** KEYS = any; answers the places, from 0, of those that exist. Changes nothing. */
export const PRESENT_SCRIPT = script(`local places = {}
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then places[#places + 1] = i - 1 end
end
return places`);

/** KEYS = fence, the key put together, its name; ARGV = token, expiry. The last step of a large key. */
export const PUBLISH_SCRIPT = script(`${FENCED}redis.call('RENAME', KEYS[2], KEYS[3])
if ARGV[2] ~= '0' then redis.call('PEXPIREAT', KEYS[3], ARGV[2]) end
return 1`);

/** KEYS = any; answers for each its type, when it expires in Unix ms (-1 for never), its elements or bytes, and about how much memory it takes. Changes nothing. */
export const LOOK_SCRIPT =
  script(`local COUNT = { list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN', string = 'STRLEN' }
local answers = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local kind = redis.call('TYPE', key)['ok']
  local expiry = -1
  local count, bytes = 0, 0
  if kind ~= 'none' then
    expiry = redis.pcall('PEXPIRETIME', key)
    if type(expiry) ~= 'number' then
      local left = redis.call('PTTL', key)
      local now = redis.call('TIME')
      expiry = left < 0 and -1 or now[1] * 1000 + math.floor(now[2] / 1000) + left
    end
    count = COUNT[kind] and redis.call(COUNT[kind], key) or 0
    bytes = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', 3)
    if type(bytes) ~= 'number' then bytes = 0 end
    if kind == 'string' and count > bytes then bytes = count end
  end
  answers[#answers + 1] = { kind, expiry, count, bytes }
end
return answers`);
