import { describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { defineModule } from '../shard/define-module.ts';
import { createRedisModule } from '../shard/redis/redis-module.ts';
import type { CommandContext, CommandResult } from '../shard/value-module.ts';
import { MemoryStorage } from '../storage/memory.ts';
import { openStore } from './open-store.ts';

type Bag = { items: string[] };
type Run = (ctx: CommandContext, value: Bag | undefined, command: unknown) => CommandResult<Bag, unknown>;

/** What running `command` twice, on an absent and then on a present value, comes to in debug mode. */
async function outcomes(command: Run, given: unknown = 'x'): Promise<string[]> {
  const module = defineModule<Bag, unknown, unknown, unknown, unknown>({
    name: 'bag',
    command,
    query: (ctx, value) => ({ answer: [value?.items, [...ctx.cells.scan()].map(({ cell }) => fromUtf8(cell))] }),
  });
  const store = await openStore({ storage: new MemoryStorage(), checkModules: true, keyspaces: { bags: { module } } });
  await using _ = store;
  const heard: string[] = [];
  for (let i = 0; i < 2; i++) {
    await store.command('bags', 'k', given).then(
      (reply) => heard.push(JSON.stringify(reply)),
      (error: { code?: string; message: string }) => heard.push(error.code ?? error.message),
    );
  }
  heard.push(JSON.stringify(await store.query('bags', 'k', null)));
  return heard;
}

describe('in debug mode a module', () => {
  test('that is pure works as ever, cells and all', async () => {
    const pure: Run = (ctx, bag = { items: [] }, command) => {
      ctx.cells.set(utf8(`cell ${bag.items.length}`), utf8('v'));
      if (bag.items.length === 1) ctx.cells.delete(utf8('cell 0'));
      const seen = [...ctx.cells.scan({ reverse: true })].map(({ cell }) => fromUtf8(cell));
      return { reply: seen, value: { items: [...bag.items, String(command)] } };
    };
    expect(await outcomes(pure)).toEqual(['["cell 0"]', '["cell 1"]', '[["x","x"],["cell 1"]]']);
  });

  const impure: Readonly<Record<string, Run>> = {
    'that looks at the clock': (_ctx, _bag) => ({ reply: 1, value: { items: [String(Date.now())] } }),
    'that makes a date': () => ({ reply: new Date().toISOString(), value: { items: [] } }),
    'that draws random numbers': (ctx) => {
      ctx.cells.set(utf8(String(Math.random())), utf8(''));
      return { reply: 1, value: { items: [] } };
    },
    'that remembers': (() => {
      let calls = 0;
      return () => ({ reply: calls++, value: { items: [] } });
    })(),
    'that fails now and then': (() => {
      let calls = 0;
      return () => {
        if (calls++ % 2 === 0) throw new Error('now');
        return { reply: 1, value: { items: [] } };
      };
    })(),
  };
  test.each(Object.keys(impure))('%s is found out, and changes nothing: KF_MODULE_IMPURE', async (name) => {
    expect(await outcomes(impure[name]!)).toEqual(['KF_MODULE_IMPURE', 'KF_MODULE_IMPURE', '[null,[]]']);
  });

  test('says in words what was not the same both times', async () => {
    const words = async (command: Run): Promise<string> => {
      const module = defineModule<Bag, unknown, unknown, unknown, unknown>({
        name: 'bag',
        command,
        query: () => ({ answer: Math.random() }),
      });
      await using store = await openStore({ storage: new MemoryStorage(), checkModules: true, keyspaces: { bags: { module } } });
      const failures = [store.command('bags', 'k', 'x'), store.query('bags', 'k', null)].map((call) =>
        call.then(String, (error: Error) => error.message.replace(/0\.\d+/g, '0.…')),
      );
      return (await Promise.all(failures)).join('\n');
    };
    let calls = 0;
    const query = 'a query of the value module bag is not pure: run twice, it answered 0.…, then it answered 0.…';
    const say = (said: string): string => `a command of the value module bag is not pure: run twice, ${said}\n${query}`;
    expect(await words(() => ({ reply: ++calls, value: undefined }))).toBe(say('it replied 1, then it replied 2'));
    expect(await words(() => ({ reply: 'ok', value: { items: [`tea ${++calls}`] } }))).toBe(
      say("it left the value { items: [ 'tea 3' ] }, then it left the value { items: [ 'tea 4' ] }"),
    );
    expect(await words(() => ({ reply: 'ok', value: { items: [] }, sizeBytes: ++calls }))).toBe(
      say('it said sizeBytes 5, then it said sizeBytes 6'),
    );
    const failing: Run = () => {
      if (++calls === 7) throw new Error('the seventh');
      return { reply: 'ok', value: undefined };
    };
    expect(await words(failing)).toBe(say("it threw the seventh, then it replied 'ok'"));
  });

  test('that changes the value it was given is found out', async () => {
    const inPlace: Run = (_ctx, bag, command) => {
      if (!bag) return { reply: 0, value: { items: [] } };
      bag.items.push(String(command));
      return { reply: bag.items.length, value: bag };
    };
    expect(await outcomes(inPlace)).toEqual(['0', 'KF_MODULE_IMPURE', '[[],[]]']);
  });

  test('whose command does not survive being written down is found out', async () => {
    class Amount {
      readonly count = 3;
    }
    const byClass: Run = (_ctx, _bag, command) => ({ reply: command instanceof Amount, value: { items: [] } });
    expect(await outcomes(byClass, new Amount())).toEqual(['KF_MODULE_IMPURE', 'KF_MODULE_IMPURE', '[null,[]]']);
  });

  test('that fails alike both times fails as ever', async () => {
    const failing: Run = () => {
      throw new Error('as always');
    };
    expect(await outcomes(failing)).toEqual(['as always', 'as always', '[null,[]]']);
  });

  test('that works on several keys is checked too: Redis works', async () => {
    const store = await openStore({
      storage: new MemoryStorage(),
      checkModules: true,
      keyspaces: { redis: { module: createRedisModule(), scheme: 'redis' } },
    });
    await using _ = store;
    const redis = store.keyspace('redis');
    const args = (...words: string[]) => words.map(utf8);
    await redis.command('{k}a', args('RPUSH', '{k}a', 'one', 'two'));
    await redis.commandMany(['{k}a', '{k}b'], args('RENAME', '{k}a', '{k}b'));
    await redis.command('{k}b', args('LSET', '{k}b', '0', 'uno'));
    expect(await redis.query('{k}b', args('LRANGE', '{k}b', '0', '-1'))).toEqual(args('uno', 'two'));
    expect(await redis.command('{k}a', args('INCR', '{k}a'))).toBe(1);
    expect(redis.keyCount).toBe(2);
  });
});
