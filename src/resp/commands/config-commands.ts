import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { SYNTAX_ERROR, wrongArityError } from '../../shard/redis/error-replies.ts';
import { matchesGlob } from '../../shard/redis/glob.ts';
import { errorReply, OK, type Reply } from '../../shard/redis/reply.ts';
import type { Door } from '../door.ts';
import { atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { isSettingName, parseSetting, type RespSettings, SETTING_NAMES, showSetting } from '../settings.ts';
import { bulk, help } from './reply-text.ts';

// CONFIG and its subcommands.

export const CONFIG_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['config', atOnce(({ spec }) => wrongArityError(spec.name))],
  ['config|get', atOnce(get)],
  ['config|set', atOnce(set)],
  ['config|resetstat', atOnce(resetStat)],
  ['config|rewrite', atOnce(() => errorReply('ERR The server is running without a config file'))],
  ['config|help', atOnce(({ door, spec }) => help(door.containerOf(spec)))],
];

/** Redis settings that tools ask for, as they are here; they cannot be set. */
function fixedSettings(door: Door): readonly (readonly [string, string])[] {
  return [
    ['appendfsync', door.info.storage?.().durability === 'sync' ? 'always' : 'no'],
    ['appendonly', door.info.directory ? 'yes' : 'no'],
    ['client-output-buffer-limit', `normal ${door.settings['client-output-hard-bytes']} 0 0`],
    ['cluster-enabled', door.cluster ? 'yes' : 'no'],
    ['databases', '1'],
    ['dir', door.info.directory ?? ''],
    ['maxmemory', '0'],
    ['maxmemory-policy', 'noeviction'],
    ['port', String(door.port)],
    ['save', ''],
    ['unixsocket', door.unixSocket ?? ''],
  ];
}

function get({ door, args }: LocalCall): Reply {
  const all: (readonly [string, string])[] = [
    ...SETTING_NAMES.map((name) => [name, showSetting(door.settings, name)] as const),
    ...fixedSettings(door),
  ];
  const patterns = args.slice(2).map((pattern) => utf8(fromUtf8(pattern).toLowerCase()));
  const found = all.filter(([name]) => patterns.some((pattern) => matchesGlob(pattern, utf8(name))));
  return { kind: 'map', pairs: found.map(([name, value]) => [bulk(name), bulk(value)]) };
}

/** All or nothing, like Redis, which looks at all names before it looks at a value. */
function set({ door, args }: LocalCall): Reply {
  if (args.length % 2 !== 0) return SYNTAX_ERROR;
  const texts = new Map<keyof RespSettings, string>();
  const fixed = new Set(fixedSettings(door).map(([name]) => name));
  for (let at = 2; at < args.length; at += 2) {
    const name = fromUtf8(args[at]!).toLowerCase();
    if (!isSettingName(name)) {
      if (fixed.has(name)) return failedSetting(name, "can't set immutable config");
      return errorReply(`ERR Unknown option or number of arguments for CONFIG SET - '${fromUtf8(args[at]!)}'`);
    }
    if (texts.has(name)) return failedSetting(name, 'duplicate parameter');
    texts.set(name, fromUtf8(args[at + 1]!));
  }
  const changes: ((settings: RespSettings) => void)[] = [];
  for (const [name, text] of texts) {
    const parsed = parseSetting(name, text);
    if (typeof parsed === 'string') return failedSetting(name, parsed);
    changes.push(parsed.apply);
  }
  for (const apply of changes) apply(door.settings);
  door.settingsChanged();
  return OK;
}

function failedSetting(name: string, why: string): Reply {
  return errorReply(`ERR CONFIG SET failed (possibly related to argument '${name}') - ${why}`);
}

function resetStat({ door }: LocalCall): Reply {
  door.stats.reset();
  const { lookups } = door.info;
  if (lookups) Object.assign(lookups, { hits: 0, misses: 0 });
  return OK;
}
