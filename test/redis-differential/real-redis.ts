import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisConnection } from './redis-connection.ts';

/** False when `npm test` found no redis-server on this machine (see scripts/servers.mjs). */
export const hasRealRedis: boolean = !(process.env['KEYFLEET_MISSING'] ?? '').split(',').includes('redis-server');

export interface RealRedis {
  readonly port: number;
  connect(): Promise<RedisConnection>;
  stop(): Promise<void>;
}

/** Starts a redis-server of its own, on a free port and in a temporary directory, without persistence; further `options` as `--name value`. */
export async function startRealRedis(options: readonly string[] = []): Promise<RealRedis> {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-redis-'));
  const port = await freePort();
  const server = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir, ...options],
    { stdio: 'ignore' },
  );
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true;
      resolve();
    };
    server.once('exit', end);
    server.once('error', end);
  });
  const stop = async (): Promise<void> => {
    server.kill('SIGKILL');
    await exited;
    rmSync(dir, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + 15_000;
  while (!ended && Date.now() < deadlineMs) {
    try {
      (await RedisConnection.open(port)).close();
      return { port, connect: () => RedisConnection.open(port), stop };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  await stop();
  throw new Error(`redis-server did not come up on port ${port}`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
