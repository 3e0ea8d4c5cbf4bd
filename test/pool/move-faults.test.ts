import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import type { VerifyReport } from '../../src/pool/moves/move-verify.ts';
import { ExactWorker } from './exact-workload.ts';
import { FaultFleet } from './fault-fleet.ts';
import { hasRedis } from './redis-servers.ts';

// Real processes, really killed: the owner with its mover, routers, and by option servers, which come back or fail over to replicas, while a proxy of ours cuts, delays and delivers late what the mover sends.

const SECONDS = Number(process.env['KEYFLEET_POOL_SECONDS'] ?? 8);
const SEED = Number(process.env['KEYFLEET_POOL_SEED'] ?? 4_211);
const KILL_SERVERS = process.env['KEYFLEET_POOL_SECONDS'] !== undefined;
const STILL_KEYS = 1_000;
const LANES = 4;

interface Status {
  readonly state: string;
  readonly servers: readonly { readonly name: string }[];
}

describe.runIf(hasRedis)('keys that move while processes are killed and connections cut', () => {
  test(
    `no key is lost and no answer is wrong (seed ${SEED})`,
    async () => {
      const prng = new Prng(SEED);
      const random = (): number => prng.u32() / 0x1_0000_0000;
      const fleet = await FaultFleet.start({
        servers: 3,
        routers: 2,
        serverArgs: KILL_SERVERS ? ['--appendonly', 'yes', '--appendfsync', 'always', '--repl-diskless-sync-delay', '0'] : [],
        replicas: KILL_SERVERS,
      });
      const counts = { moves: 0, owners: 0, routers: 0, servers: 0, failovers: 0 };
      try {
        await Promise.all(Array.from({ length: STILL_KEYS }, (_, i) => fleet.routers[0]!.send(['SET', `still:${i}`, `value ${i}`])));
        await fleet.ask('limits', { bytesPerSecond: 100_000 });
        for (const proxy of fleet.proxies) {
          let chunks = 10;
          const cuts = (): boolean => {
            if (--chunks > 0) return false;
            chunks = 15 + Math.floor(random() * 60);
            return true;
          };
          proxy.plan = { delayMs: () => (random() < 0.2 ? random() * 20 : 0), cuts, late: () => sleep(random() * 600) };
        }
        const startMs = Date.now();
        const cut = (): number => fleet.proxies.reduce((sum, { cuts }) => sum + cuts, 0);
        /** On a slow machine it takes longer until enough has happened. */
        const isOver = (): boolean => {
          const ranMs = Date.now() - startMs;
          const enough = counts.moves > 0 && counts.owners > 0 && counts.routers > 0 && cut() > 5;
          return ranMs > SECONDS * 1_000 && (enough || ranMs > SECONDS * 1_000 + 60_000);
        };
        const workers = fleet.routers.flatMap((router, index) =>
          Array.from({ length: LANES }, (_, lane) => {
            const own = new Prng(SEED + 100 * index + lane + 1);
            const send = (name: string, key: string, rest: readonly (string | number)[]) => router.send([name, key, ...rest]);
            return new ExactWorker(`r${index}w${lane}`, send, () => own.u32() / 0x1_0000_0000);
          }),
        );
        const running = Promise.all(workers.map((worker) => worker.run(isOver)));
        await Promise.all([moveToAndFro(isOver), kill(isOver)]);
        const reports = await running;
        for (const proxy of fleet.proxies) proxy.plan = {};
        await settled(fleet);
        expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
        expect(reports.reduce((sum, { operations }) => sum + operations, 0)).toBeGreaterThan(500);
        expect(Math.min(counts.moves, counts.owners, counts.routers, cut())).toBeGreaterThan(0);
        const still = (await fleet.routers[1]!.send(['MGET', ...Array.from({ length: STILL_KEYS }, (_, i) => `still:${i}`)])) as readonly {
          readonly text: string;
        }[];
        expect(still.filter((one, i) => one?.text !== `value ${i}`)).toEqual([]);
        const verified = await fleet.ask<{ report: VerifyReport }>('verify', { waitMs: 60_000 });
        expect(verified?.report).toMatchObject({ misplacedCount: 0, twiceCount: 0 });
        expect(await leftovers(fleet)).toEqual([]);
        if (KILL_SERVERS)
          console.log(
            JSON.stringify({
              ...counts,
              cuts: fleet.proxies.map(({ cuts, lateChunks }) => `${cuts}/${lateChunks}`),
              reports: reports.map(({ operations, errors }) => `${operations}/${errors}`),
            }),
          );
      } finally {
        await fleet.close();
      }

      /** A server comes and goes until the time is over; whatever fails is tried again. */
      async function moveToAndFro(isOver: () => boolean): Promise<void> {
        while (!isOver()) {
          const now = await fleet.ask<Status>('status');
          if (now?.state === 'idle') {
            const isIn = now.servers.some(({ name }) => name === 'spare');
            const action = isIn ? { action: 'remove', server: 'spare' } : { action: 'add', server: fleet.spare };
            if ((await fleet.ask('change', action)) !== undefined) counts.moves++;
          } else if (now?.state === 'stopped') await fleet.ask('moves/resume', {});
          else if (now?.state === 'running' && random() < 0.02) await fleet.ask('moves/cancel', {});
          await sleep(30);
        }
      }

      async function kill(isOver: () => boolean): Promise<void> {
        for (let turn = 0; ; turn++) {
          await sleep(700 + random() * 1_500);
          if (isOver()) return;
          const dice = KILL_SERVERS ? random() : 0.7 * random();
          // Each is killed at least once, whatever the dice say.
          if (turn === 0 || (turn > 2 && dice < 0.45)) {
            await fleet.killOwner();
            await sleep(random() * 300);
            await fleet.startOwner();
            counts.owners++;
          } else if (turn === 1 || (dice < 0.7 && !(KILL_SERVERS && turn === 2))) {
            await fleet.routers[Math.floor(random() * fleet.routers.length)]!.kill();
            counts.routers++;
          } else if (turn === 2 || dice < 0.88) {
            if (await fleet.failOver(Math.floor(random() * fleet.servers.length))) counts.failovers++;
          } else {
            const server = fleet.servers[Math.floor(random() * fleet.servers.length)]!;
            await server.kill();
            await sleep(50 + random() * 300);
            await server.start();
            counts.servers++;
          }
        }
      }
    },
    SECONDS * 1_000 + 120_000,
  );
});

/** Waits until no moves run, and helps those that stand still. */
async function settled(fleet: FaultFleet): Promise<void> {
  for (const endMs = Date.now() + 60_000; ; await sleep(50)) {
    const now = await fleet.ask<Status>('status');
    if (now?.state === 'idle') return;
    if (now?.state === 'stopped') await fleet.ask('moves/resume', {});
    if (Date.now() > endMs) throw new Error(`the moves do not end: ${JSON.stringify(now)}`);
  }
}

/** Keys of ours that nobody took away, and that do not go by themselves. */
async function leftovers(fleet: FaultFleet): Promise<string[]> {
  const left: string[] = [];
  for (const { client } of fleet.servers)
    for (const key of (await client.request('KEYS', '__kf:*')) as readonly Uint8Array[])
      if ((await client.request('PTTL', key)) === -1) left.push(Buffer.from(key).toString());
  return left;
}
