/**
 * What does moving keys between live servers cost, and whom? Keys and bytes moved a second; the foreground's latency before, during and after; the write pause of a clone, of which
 * several are made to and fro, in quiet and while the foreground works. `--large`: 300,000 keys instead of 20,000, and 10 clones instead of 3.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPool, startPoolAdmin } from '../src/pool/index.ts';
import { POOL_DEFAULTS, type PoolConfig } from '../src/pool/pool-config.ts';
import { startRedisServers } from '../test/pool/redis-servers.ts';

const isLarge = process.argv.includes('--large');
const keyCount = isLarge ? 300_000 : 20_000;
const clones = isLarge ? 10 : 3;
const servers = await startRedisServers(4, ['--repl-diskless-sync-delay', '0']);
const dir = mkdtempSync(join(tmpdir(), 'keyfleet-bench-'));
const config: PoolConfig = {
  name: 'bench',
  redis: true,
  ...POOL_DEFAULTS,
  distribution: 'slots',
  servers: servers.slice(0, 2).map(({ address, port }) => ({ name: address, address: { host: '127.0.0.1', port }, weight: 1 })),
};
const admin = await startPoolAdmin({ config, dir });
const pool = createPool({ ...config, control: { url: admin.url } });
const value = 'v'.repeat(100);
for (let at = 0; at < keyCount; at += 1_000)
  await Promise.all(Array.from({ length: Math.min(1_000, keyCount - at) }, (_, i) => pool.call(['SET', `key:${at + i}`, value])));

let waits: number[] = [];
let isOver = false;
const foreground = Promise.all(
  Array.from({ length: 8 }, async (_, lane) => {
    for (let i = lane; !isOver; i = (i * 31 + 7) % keyCount) {
      const startMs = performance.now();
      await pool.call(i % 4 === 0 ? ['SET', `key:${i}`, value] : ['GET', `key:${i}`]);
      waits.push(performance.now() - startMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }),
);
const taken = (): string => {
  const sorted = waits.sort((a, b) => a - b);
  waits = [];
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms (${sorted.length} operations)`;
};
/** Moves the first server to and fro, and says how long operations were held. */
async function clone(how: string): Promise<void> {
  const pauses: number[] = [];
  for (let turn = 0; turn < clones; turn++) {
    const { address } = admin.engine.map.servers[0]!;
    const [now, next] = 'port' in address && address.port === servers[0]!.port ? [servers[0]!, servers[3]!] : [servers[3]!, servers[0]!];
    const body = JSON.stringify({ server: servers[0]!.address, address: next.address });
    const begun = await fetch(`${admin.url}/v1/servers/move`, { method: 'POST', body });
    if (!begun.ok) throw new Error(await begun.text());
    await admin.whole.settled();
    if (admin.whole.status?.pauseMs === undefined) throw new Error(JSON.stringify(admin.whole.status));
    pauses.push(admin.whole.status.pauseMs);
    await now.client.request('CONFIG', 'SET', 'min-replicas-to-write', '0');
    await now.client.request('FLUSHALL');
  }
  pauses.sort((a, b) => a - b);
  const shown = [pauses[0]!, pauses[Math.floor(pauses.length / 2)]!, pauses.at(-1)!].map((ms) => ms.toFixed(1));
  console.log(`clone ${how}, ${clones} times: operations held for ${shown[0]} ms at least, ${shown[1]} ms median, ${shown[2]} ms at most`);
}
const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const change = (action: string, server: string): Promise<Response> =>
  fetch(`${admin.url}/v1/change`, { method: 'POST', body: JSON.stringify({ action, server }) });

await rest(2_000);
console.log(`machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`);
console.log(`foreground before   ${taken()}`);
const startMs = performance.now();
await change('add', servers[2]!.address);
await admin.engine.settled();
const seconds = (performance.now() - startMs) / 1_000;
console.log(`foreground during   ${taken()}`);
const moved = Number(await pool.call(['DBSIZE'], { server: servers[2]!.address }));
const { bytesMoved } = admin.engine.status();
console.log(
  `moved ${moved} keys of 100 B in ${seconds.toFixed(2)} s: ${Math.round(moved / seconds)} keys/s, ${(bytesMoved / seconds / 1e6).toFixed(2)} MB/s of DUMPs, barriers and checks included`,
);
await rest(2_000);
console.log(`foreground after    ${taken()}`);
await clone('with the foreground');
console.log(`foreground meanwhile ${taken()}`);
isOver = true;
await foreground;
await clone('in quiet');
const { report: verified } = (await (
  await fetch(`${admin.url}/v1/verify`, { method: 'POST', body: JSON.stringify({ waitMs: 60_000 }) })
).json()) as { report: { keys: number; misplacedCount: number } };
console.log(`checksum: ${verified.keys} keys, ${verified.misplacedCount} misplaced`);
await pool.close();
await admin.close();
await Promise.all(servers.map((server) => server.stop()));
rmSync(dir, { recursive: true, force: true });
