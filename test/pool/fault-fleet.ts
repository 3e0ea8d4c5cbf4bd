import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { ServerLink } from '../../src/pool/move-link.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import type { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { replyOf } from './exact-workload.ts';
import { FaultProxy } from './fault-proxy.ts';
import { startOwner } from './owner-process.ts';
import { freePort, RedisServer } from './redis-servers.ts';
import type { Answered, Asked } from './router-process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const UP_MS = 60_000;

/** A router of {@link ./router-process.ts} that is started again whenever it was killed. */
export class KillableRouter {
  readonly #start: () => ChildProcess;
  /** Resolves once what a killed process had sent has reached the servers. */
  readonly #settle: () => Promise<void>;
  readonly #waiting = new Map<number, { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void }>();
  #child: ChildProcess | undefined;
  #ready: Promise<void> = Promise.resolve();
  #nextId = 0;

  constructor(start: () => ChildProcess, settle: () => Promise<void>) {
    this.#start = start;
    this.#settle = settle;
  }

  start(): Promise<void> {
    const child = this.#start();
    this.#child = child;
    this.#ready = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('a router did not come up')), UP_MS);
      child.on('message', (answered: Answered) => {
        if (answered.id !== undefined) return this.#take(answered);
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#ready;
  }

  /** Carries out a command; rejects when its outcome is unknown or nothing was done. */
  async send(args: readonly (string | number)[]): Promise<Reply> {
    await this.#ready;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child!.send({ id, args } satisfies Asked, (error) => error && this.#take({ id, error: error.message }));
    });
  }

  /** kill -9, and another one. */
  async kill(): Promise<void> {
    const child = this.#child!;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    const waiting = [...this.#waiting];
    const started = this.start();
    await this.#settle();
    for (const [id, { reject }] of waiting) {
      if (!this.#waiting.delete(id)) continue;
      reject(new Error('the router was killed'));
    }
    await started;
  }

  stop(): void {
    this.#child?.kill('SIGKILL');
  }

  #take({ id, value, error }: Answered): void {
    const waiting = this.#waiting.get(id!);
    this.#waiting.delete(id!);
    if (error !== undefined) waiting?.reject(new Error(error));
    else waiting?.resolve(replyOf(value));
  }
}

/** Servers behind proxies of ours, an owner and routers as processes: everything that can be killed, cut and delayed. */
export class FaultFleet {
  readonly dir: string;
  readonly servers: readonly RedisServer[];
  readonly proxies: readonly FaultProxy[];
  readonly routers: readonly KillableRouter[];
  readonly #port: number;
  #owner: KeyfleetProcess | undefined;

  private constructor(parts: { dir: string; servers: RedisServer[]; proxies: FaultProxy[]; port: number; routers: KillableRouter[] }) {
    this.dir = parts.dir;
    this.servers = parts.servers;
    this.proxies = parts.proxies;
    this.routers = parts.routers;
    this.#port = parts.port;
  }

  /** The pool begins with all servers but the last. */
  static async start(options: {
    readonly servers: number;
    readonly routers: number;
    readonly serverArgs: readonly string[];
  }): Promise<FaultFleet> {
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-faults-'));
    const servers = await Promise.all(Array.from({ length: options.servers }, () => RedisServer.start(options.serverArgs)));
    const proxies = await Promise.all(servers.map(({ port }) => FaultProxy.start(port)));
    const port = await freePort();
    const script = await bundled('router-process.ts');
    const file = join(dir, 'pools.yml');
    const listed = proxies.slice(0, -1).map((proxy, i) => `    - 127.0.0.1:${proxy.port}:1 s${i}\n`);
    writeFileSync(file, `p:\n  redis: true\n  distribution: slots\n  servers:\n${listed.join('')}`);
    const start = (): ChildProcess => fork(script, [file, `http://127.0.0.1:${port}`], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const settle = async (): Promise<void> => {
      await sleep(100);
      for (const server of servers) await answersAgain(server);
    };
    const routers = Array.from({ length: options.routers }, () => new KillableRouter(start, settle));
    const fleet = new FaultFleet({ dir, servers, proxies, port, routers });
    await fleet.startOwner();
    await Promise.all(routers.map((router) => router.start()));
    return fleet;
  }

  /** How the last server is written in `add`. */
  get spare(): string {
    return `127.0.0.1:${this.proxies.at(-1)!.port}:1 spare`;
  }

  async startOwner(): Promise<void> {
    this.#owner = await startOwner({ file: join(this.dir, 'pools.yml'), dir: join(this.dir, 'state'), port: this.#port });
  }

  async killOwner(): Promise<void> {
    await this.#owner?.kill('SIGKILL');
  }

  /** Asks the owner; undefined while it is away, or when it says no. */
  async ask<T>(path: string, body?: object): Promise<T | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.#port}/v1/${path}`, {
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(UP_MS),
      });
      return response.ok ? ((await response.json()) as T) : undefined;
    } catch {
      return undefined;
    }
  }

  async close(): Promise<void> {
    for (const router of this.routers) router.stop();
    await this.killOwner();
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
    await Promise.all(this.servers.map((server) => server.stop()));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Several turns of a server's event loop: what had been sent to it before is carried out then. */
export async function answersAgain(server: RedisServer): Promise<void> {
  const link = new ServerLink({ host: '127.0.0.1', port: server.port });
  try {
    for (let i = 0; i < 5; i++) await link.raw(['PING']);
  } catch {
    // It was killed too; what it had not read is gone.
  } finally {
    link.close();
  }
}

async function bundled(name: string): Promise<string> {
  const outDir = join(root, 'node_modules', '.cache', 'keyfleet-pool-faults');
  mkdirSync(outDir, { recursive: true });
  const outfile = join(outDir, name.replace('.ts', '.mjs'));
  const entry = join(root, 'test', 'pool', name);
  await build({ entryPoints: [entry], outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'node20' });
  return outfile;
}
