import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Backend } from '../../src/pool/backend.ts';

const missing = (process.env['KEYFLEET_MISSING'] ?? '').split(',');
/** False when `npm test` found no redis-server on this machine (see scripts/servers.mjs). */
export const hasRedis: boolean = !missing.includes('redis-server');

/** A redis-server of one's own, on a free port and in a temporary directory, without persistence. */
export class RedisServer {
  readonly port: number;
  readonly dir: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;
  #client: Backend | undefined;

  private constructor(port: number, dir: string, args: readonly string[]) {
    this.port = port;
    this.dir = dir;
    this.#args = args;
  }

  /** @param args - Further settings, as `--name`, `value`. */
  static async start(args: readonly string[] = []): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), mkdtempSync(join(tmpdir(), 'keyfleet-redis-')), args);
    await server.start();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** A client straight to it, connected when first used. */
  get client(): Backend {
    this.#client ??= new Backend({
      name: this.address,
      address: { host: '127.0.0.1', port: this.port },
      backoffMs: { first: 10, most: 100 },
    });
    return this.#client;
  }

  /** The same port and directory again, after {@link kill}. */
  async start(): Promise<void> {
    const child = spawn(
      'redis-server',
      ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.dir, ...this.#args],
      { stdio: 'ignore' },
    );
    this.#process = child;
    let ended = false;
    child.once('exit', () => {
      ended = true;
    });
    child.once('error', () => {
      ended = true;
    });
    for (const deadlineMs = Date.now() + 15_000; !ended && Date.now() < deadlineMs; ) {
      const probe = new Backend({ name: 'probe', address: { host: '127.0.0.1', port: this.port } });
      try {
        await probe.request('PING');
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      } finally {
        probe.close();
      }
    }
    throw new Error(`redis-server did not come up on port ${this.port}`);
  }

  /** SIGKILL, or SIGSTOP and SIGCONT to let it stall. */
  signal(name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void {
    this.#process?.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }

  /** Kills it and removes its directory. */
  async stop(): Promise<void> {
    this.#client?.close();
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** `count` servers at once. */
export function startRedisServers(count: number, args: readonly string[] = []): Promise<RedisServer[]> {
  return Promise.all(Array.from({ length: count }, () => RedisServer.start(args)));
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
