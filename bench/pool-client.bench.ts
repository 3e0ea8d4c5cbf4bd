// How many commands a second does one process get through each client?
//
// GET and SET of 32 bytes in turn, 1,000 keys, with a fixed number in flight: each answer starts the next command. All clients talk to the same
// redis-server; `keyfleet, 4 servers` routes over four, which none of the others does over plain servers. Servers and client share the machine's
// cores, so the servers' share is in every figure alike. Rounds of all clients alternate; the best round counts.
import { cpus } from 'node:os';
import { Redis } from 'ioredis';
import { Redis as Valkey } from 'iovalkey';
import { createClient } from 'redis';
import { showCount } from '../src/base/units.ts';
import { createPool } from '../src/pool/index.ts';
import { type RedisServer, startRedisServers } from '../test/pool/redis-servers.ts';

interface Contender {
  readonly name: string;
  get(key: string): Promise<unknown>;
  set(key: string, value: string): Promise<unknown>;
  close(): unknown;
}

const LARGE = process.argv.includes('--large');
const ROUNDS = LARGE ? 7 : 3;
const OPS = LARGE ? 400_000 : 100_000;
const KEYS = Array.from({ length: 1_000 }, (_, i) => `user:${i}:name`);
const VALUE = 'v'.repeat(32);

async function contenders(servers: readonly RedisServer[]): Promise<Contender[]> {
  const { port, address } = servers[0]!;
  const nodeRedis = await createClient({ url: `redis://${address}` }).connect();
  return [
    createContender('keyfleet', createPool({ servers: [address] })),
    createContender('keyfleet, 4 servers', createPool({ servers: servers.map((one) => one.address), hash: 'murmur' })),
    fromRedis('ioredis', new Redis({ port })),
    fromRedis('ioredis, auto-pipelining', new Redis({ port, enableAutoPipelining: true })),
    fromRedis('iovalkey', new Valkey({ port })),
    fromRedis('iovalkey, auto-pipelining', new Valkey({ port, enableAutoPipelining: true })),
    {
      name: 'node-redis',
      get: (key) => nodeRedis.get(key),
      set: (key, value) => nodeRedis.set(key, value),
      close: () => nodeRedis.close(),
    },
  ];
}

function createContender(name: string, pool: ReturnType<typeof createPool>): Contender {
  return { name, get: (key) => pool.get(key), set: (key, value) => pool.set(key, value), close: () => pool.close() };
}

function fromRedis(name: string, client: Redis | Valkey): Contender {
  return { name, get: (key) => client.get(key), set: (key, value) => client.set(key, value), close: () => client.disconnect() };
}

/** Commands a second, with `inFlight` under way all the time; and how many answers were right. */
async function measure(client: Contender, inFlight: number): Promise<{ perSecond: number; right: number }> {
  let next = 0;
  let right = 0;
  const lane = async (): Promise<void> => {
    while (next < OPS) {
      const turn = next++;
      const key = KEYS[turn % KEYS.length]!;
      const answer = turn % 2 === 0 ? await client.set(key, VALUE) : await client.get(key);
      if (answer === (turn % 2 === 0 ? 'OK' : VALUE)) right++;
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { perSecond: (OPS / (performance.now() - startMs)) * 1_000, right };
}

const servers = await startRedisServers(4);
const clients = await contenders(servers);
try {
  console.log(
    `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}; ${showCount(OPS)} commands a round, best of ${ROUNDS} rounds`,
  );
  for (const client of clients) for (const key of KEYS) await client.set(key, VALUE);
  for (const inFlight of [50, 500]) {
    const best = new Map<string, number>();
    let right = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (const client of clients) {
        const { perSecond, right: ok } = await measure(client, inFlight);
        best.set(client.name, Math.max(best.get(client.name) ?? 0, perSecond));
        right += ok;
      }
    }
    const peers = Math.max(...clients.filter(({ name }) => !name.startsWith('keyfleet')).map(({ name }) => best.get(name)!));
    console.log(`\n${inFlight} in flight (checksum: ${right} right answers of ${OPS * ROUNDS * clients.length})`);
    for (const { name } of clients)
      console.log(
        `  ${name.padEnd(26)} ${showCount(best.get(name)!).padStart(9)}/s  ${(best.get(name)! / peers).toFixed(2)} × the best other`,
      );
  }
} finally {
  for (const client of clients) client.close();
  await Promise.all(servers.map((server) => server.stop()));
}
