import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreNode } from '../../src/node/store-node.ts';
import { startRespServer } from '../../src/resp/server.ts';
import { everySpec } from '../../src/shard/redis/command-table.ts';
import { typeName } from '../../src/shard/redis/key-commands.ts';
import { createRedisModule, type RedisValue } from '../../src/shard/redis/redis-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';
import type { Subject } from './compare.ts';
import { compareRound } from './compare-round.ts';
import { DOOR_COMMANDS, NOT_COMPARED } from './generated-door-commands.ts';
import { COMMANDS, Generator } from './generator.ts';
import { ModuleStore } from './module-store.ts';
import { hasRealRedis, type RealRedis, startRealRedis } from './real-redis.ts';
import { RedisConnection } from './redis-connection.ts';

// Random commands go to a real redis-server and to ours, and the replies must be the same to a client, errors word for word.
// A failure names the seed: `npm run differential -- --seed N` runs it again, `--seconds N` runs longer.

const SECONDS = Number(process.env['KEYFLEET_DIFFERENTIAL_SECONDS'] ?? 0);
/** The same in every `npm test`, which judges a change and not chance; another one in every longer run. */
const SEED = Number(process.env['KEYFLEET_DIFFERENTIAL_SEED'] ?? (SECONDS > 0 ? Math.floor(Math.random() * 2 ** 32) : 20_261_122));
/** When no time is given. */
const ROUNDS = 16;
const MAX_STRING_BYTES = 1024 * 1024;
/** The server's rounds are slower: every command takes its whole way. */
const SERVER_ROUNDS = 6;

describe('the generator of commands', () => {
  test('makes every command that the module carries out', () => {
    const wanted = everySpec()
      .filter((spec) => spec.access !== 'none' && spec.subcommands.size === 0)
      .map((spec) => spec.name);
    expect(Object.keys(COMMANDS).sort()).toEqual(wanted.sort());
  });

  test('makes every command of the door, but for those that change the conversation', () => {
    const wanted = everySpec()
      .filter((spec) => spec.access === 'none' && spec.subcommands.size === 0)
      .map((spec) => spec.name);
    expect([...Object.keys(DOOR_COMMANDS), ...NOT_COMPARED].sort()).toEqual(wanted.sort());
  });

  test('makes the same commands from the same seed', () => {
    const [one, other] = [new Generator(7), new Generator(7)];
    for (let i = 0; i < 200; i++) expect(one.command()).toEqual(other.command());
  });
});

describe.skipIf(!hasRealRedis)('random commands', () => {
  let redis: RealRedis;
  let connection: RedisConnection;
  beforeAll(async () => {
    redis = await startRealRedis(['--proto-max-bulk-len', String(MAX_STRING_BYTES), '--databases', '1']);
    connection = await redis.connect();
  });
  afterAll(async () => {
    connection?.close();
    await redis?.stop();
  });

  test(
    `are answered by the module as by Redis (seed ${SEED})`,
    async () => {
      await connection.send(['HELLO', '3']);
      const store = new ModuleStore({ maxStringBytes: MAX_STRING_BYTES });
      const ours: Subject = {
        run: (args) => {
          store.nowMs = Date.now();
          return store.run(args);
        },
      };
      const counts = new Map<string, number>();
      const endMs = Date.now() + SECONDS * 1_000;
      for (let round = 0; SECONDS > 0 ? Date.now() < endMs : round < ROUNDS; round++) {
        const generator = new Generator((SEED + round) >>> 0);
        await compareRound({ real: { run: (args) => connection.send(args) }, ours, generator, seed: (SEED + round) >>> 0 });
        for (const [name, count] of generator.counts) counts.set(name, (counts.get(name) ?? 0) + count);
      }
      expect(Object.keys(COMMANDS).filter((name) => !counts.has(name))).toEqual([]);
    },
    (SECONDS + 60) * 1_000,
  );

  test.each([2, 3])(
    `are answered by our server over a store as by Redis, in RESP%i (seed ${SEED})`,
    async (version) => {
      const node = await StoreNode.open({ storage: new MemoryStorage() });
      const module = createRedisModule({ maxStringBytes: MAX_STRING_BYTES });
      const keyspace = await node.registerKeyspace('redis', { module, scheme: 'redis' });
      const settings = { 'proto-max-bulk-len': MAX_STRING_BYTES };
      const server = await startRespServer({
        keyspace,
        info: { version: '0.0.0', typeOf: (value) => typeName(value as RedisValue) },
        port: 0,
        settings,
      });
      const ours = await RedisConnection.open(server.address.port);
      const real = await redis.connect();
      try {
        for (const one of [real, ours]) await one.send(['HELLO', String(version)]);
        const endMs = Date.now() + SECONDS * 1_000;
        for (let round = 0; SECONDS > 0 ? Date.now() < endMs : round < SERVER_ROUNDS; round++) {
          const seed = (SEED + round) >>> 0;
          const generator = new Generator(seed, { tag: '{x}', version, doorShare: 0.15 });
          // The round before may have ended within a transaction.
          for (const one of [real, ours]) await one.send(['DISCARD']);
          await compareRound({ real: { run: (args) => real.send(args) }, ours: { run: (args) => ours.send(args) }, generator, seed });
        }
      } finally {
        ours.close();
        real.close();
        await server.close({ graceMs: 100 });
        await node.close();
      }
    },
    (SECONDS + 60) * 1_000,
  );
});
