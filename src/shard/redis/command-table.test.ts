import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasRealRedis, type RealRedis, startRealRedis } from '../../../test/redis-differential/real-redis.ts';
import type { RedisConnection } from '../../../test/redis-differential/redis-connection.ts';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import {
  COMMAND_INDEX_END,
  COMMANDS,
  type CommandSpec,
  everySpec,
  findCommand,
  helpLines,
  isSpec,
  keysOf,
  resolveCommand,
} from './command-table.ts';
import type { Reply } from './reply.ts';

const command = (line: string) => line.split(' ').map(utf8);
const keysIn = (line: string): string[] => {
  const args = command(line);
  const spec = resolveCommand(args);
  return isSpec(spec) ? keysOf(spec, args).map(fromUtf8) : [];
};
const errorOf = (line: string): string | undefined => {
  const resolved = resolveCommand(command(line));
  return !isSpec(resolved) && resolved.kind === 'error' ? resolved.text : undefined;
};

describe('the command table', () => {
  test('finds every command by its name in any case, and nothing else', () => {
    for (const [name, spec] of COMMANDS) {
      expect(findCommand(utf8(name))).toBe(spec);
      expect(findCommand(utf8(name.toUpperCase()))).toBe(spec);
      expect(findCommand(utf8(`${name}~`))).toBeUndefined();
    }
    expect(findCommand(utf8(''))).toBeUndefined();
    expect(findCommand(utf8('bitfield\x7fro'))).toBeUndefined();
    expect(findCommand(utf8('object|help'))).toBeUndefined();
  });

  test('numbers commands and subcommands densely', () => {
    expect(everySpec().map((spec) => spec.index)).toEqual(Array.from({ length: COMMAND_INDEX_END }, (_, i) => i));
  });

  test('finds the keys of a command', () => {
    expect(keysIn('GET a')).toEqual(['a']);
    expect(keysIn('DEL a b a')).toEqual(['a', 'b', 'a']);
    expect(keysIn('MSET a 1 b 2')).toEqual(['a', 'b']);
    expect(keysIn('RENAME a b')).toEqual(['a', 'b']);
    expect(keysIn('COPY a b REPLACE')).toEqual(['a', 'b']);
    expect(keysIn('LCS a b LEN')).toEqual(['a', 'b']);
    expect(keysIn('BITOP AND d a b')).toEqual(['d', 'a', 'b']);
    expect(keysIn('OBJECT ENCODING a')).toEqual(['a']);
    expect(keysIn('OBJECT HELP')).toEqual([]);
    expect(keysIn('PING')).toEqual([]);
  });

  test('sends commands with keys to the module and the others to the door', () => {
    for (const spec of everySpec()) {
      const isModules = ['one-key', 'many-keys-one-slot', 'split-and-join'].includes(spec.route.kind);
      const isContainer = spec.subcommands.size > 0;
      expect({ name: spec.name, isModules }).toEqual({
        name: spec.name,
        isModules: isContainer || spec.name === 'watch' ? isModules : spec.keySpecs.length > 0,
      });
      expect({ name: spec.name, access: spec.access !== 'none' }).toEqual({ name: spec.name, access: isModules });
    }
  });

  test('is what docs/redis-commands.md lists, no more and no less', () => {
    const docs = readFileSync(new URL('../../../docs/redis-commands.md', import.meta.url), 'utf8');
    const listed = docs.slice(docs.indexOf('## What is there'), docs.indexOf('What is not there'));
    const names = [...listed.matchAll(/`([A-Z_-]+)`/g)].map((match) => match[1]!.toLowerCase());
    expect(names.sort()).toEqual(
      everySpec()
        .map((spec) => spec.name.split('|').at(-1)!)
        .sort(),
    );
  });

  test('lists the subcommands of a container', () => {
    expect(helpLines(COMMANDS.get('object')!)).toContain('ENCODING');
  });
});

describe.skipIf(!hasRealRedis)('the command table beside a real redis-server', () => {
  let redis: RealRedis;
  let connection: RedisConnection;
  beforeAll(async () => {
    redis = await startRealRedis();
    connection = await redis.connect();
  });
  afterAll(async () => {
    connection?.close();
    await redis?.stop();
  });

  /** Commands that Redis got after 7.0. */
  const LATER = ['client|setinfo', 'client|no-touch'];
  const specs = everySpec().filter((spec) => !LATER.includes(spec.name));

  test('says what COMMAND INFO says', async () => {
    const described = new Map<string, unknown>();
    const collect = (reply: Reply): void => {
      const [name, arity, flags, first, last, step, acl, tips, keySpecs, subcommands] = texts(reply) as unknown[];
      described.set(name as string, { arity, flags, first, last, step, acl, tips, keySpecs: (keySpecs as unknown[][]).map(withoutNotes) });
      for (const subcommand of subcommands as Reply[]) collect(subcommand);
    };
    for (const reply of (await connection.send(['COMMAND'])) as Reply[]) collect(reply);
    for (const spec of specs)
      expect({ name: spec.name, ...asInfo(spec) }).toEqual({ name: spec.name, ...(described.get(spec.name) as object) });
  });

  test('says what COMMAND DOCS says of group and age', async () => {
    const docs = new Map<string, unknown>();
    const collect = (reply: readonly unknown[]): void => {
      for (let i = 0; i < reply.length; i += 2) {
        const doc = asObject(reply[i + 1] as unknown[]);
        docs.set(reply[i] as string, { group: doc['group'], since: doc['since'] });
        if (doc['subcommands'] !== undefined) collect(doc['subcommands'] as unknown[]);
      }
    };
    collect(texts(await connection.send(['COMMAND', 'DOCS'])) as unknown[]);
    for (const spec of specs) {
      expect({ name: spec.name, group: spec.group, since: spec.since }).toEqual({ name: spec.name, ...(docs.get(spec.name) as object) });
    }
  });

  test('refuses what Redis refuses before it runs a command, in the same words', async () => {
    const lines = [
      'nosuch',
      'nosuch a b',
      `nosuch ${'a'.repeat(150)} b`,
      `nosuch ${'a'.repeat(60)} ${'b'.repeat(61)} ${'c'.repeat(61)}`,
      `${'n'.repeat(200)} x`,
      'no\r\nsuch a\nb',
      'no\0such a\0b c',
      'GET',
      'get a b',
      'OBJECT',
      'OBJECT nosuch a',
      'object encoding',
      'OBJECT ENCODING a b',
      'CLIENT nosuch',
      'client id 1',
      'CONFIG nosuch a',
    ];
    for (const line of lines) expect({ line, error: errorOf(line) }).toEqual({ line, error: await sentError(line) });
    for (const spec of specs.filter((one) => one.arity > 1 || one.arity < -1)) {
      const words = spec.name.split('|');
      if (words.length > 1 && Math.abs(spec.arity) === 2) continue;
      const line = words.join(' ');
      expect({ line, error: errorOf(line) }).toEqual({ line, error: await sentError(line) });
    }
  });

  async function sentError(line: string): Promise<string | undefined> {
    const reply = await connection.send(command(line));
    return reply !== null && typeof reply === 'object' && 'kind' in reply && reply.kind === 'error' ? reply.text : undefined;
  }
});

function asInfo(spec: CommandSpec): object {
  return {
    arity: spec.arity,
    flags: spec.flags,
    first: spec.firstKey,
    last: spec.lastKey,
    step: spec.keyStep,
    acl: spec.aclCategories.map((category) => `@${category}`),
    tips: spec.tips,
    keySpecs: spec.keySpecs.map(({ firstKey, lastKey, step, flags, countAt, isUnknown }) =>
      isUnknown
        ? { flags, begin_search: ['type', 'unknown', 'spec', []], find_keys: ['type', 'unknown', 'spec', []] }
        : {
            flags,
            begin_search: ['type', 'index', 'spec', ['index', countAt ?? firstKey]],
            find_keys:
              countAt === undefined
                ? ['type', 'range', 'spec', ['lastkey', lastKey, 'keystep', step, 'limit', 0]]
                : ['type', 'keynum', 'spec', ['keynumidx', 0, 'firstkey', 1, 'keystep', step]],
          },
    ),
  };
}

/** A reply with its statuses and bulk strings as text. */
function texts(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(texts);
  if (reply instanceof Uint8Array) return fromUtf8(reply);
  if (reply !== null && typeof reply === 'object' && 'kind' in reply && reply.kind === 'status') return reply.text;
  return reply;
}

function asObject(flat: readonly unknown[]): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, flat[2 * i + 1]]));
}

function withoutNotes(flat: readonly unknown[]): object {
  const { notes: _, ...rest } = asObject(flat);
  return rest;
}
