import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { ServerLink } from '../../src/pool/moves/move-link.ts';
import { fieldsOfInfo } from '../../src/pool/moves/server-info.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';
import type { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { replyOf } from './exact-workload.ts';
import { FaultProxy } from './fault-proxy.ts';
import { startOwner } from './owner-process.ts';
import { freePort, RedisServer } from './redis-servers.ts';
import type { Answered, Asked } from './router-process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const UP_MS = 60_000;
/** Writers of a server that is to fail over wait for it so long at most. */
const PAUSE_MS = 4_000;

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
  servers: readonly RedisServer[];
  /** One of each server, or none at all. */
  #replicas: readonly RedisServer[];
  readonly proxies: readonly FaultProxy[];
  readonly routers: readonly KillableRouter[];
  readonly #port: number;
  #owner: KeyfleetProcess | undefined;

  private constructor(parts: {
    dir: string;
    servers: RedisServer[];
    replicas: RedisServer[];
    proxies: FaultProxy[];
    port: number;
    routers: KillableRouter[];
  }) {
    this.dir = parts.dir;
    this.servers = parts.servers;
    this.#replicas = parts.replicas;
    this.proxies = parts.proxies;
    this.routers = parts.routers;
    this.#port = parts.port;
  }

  /** The pool begins with all servers but the last. */
  static async start(options: {
    readonly servers: number;
    readonly routers: number;
    readonly serverArgs: readonly string[];
    /** So that servers can fail over. */
    readonly replicas?: boolean;
  }): Promise<FaultFleet> {
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-faults-'));
    const servers = await Promise.all(Array.from({ length: options.servers }, () => RedisServer.start(options.serverArgs)));
    const replicas = options.replicas === true ? await Promise.all(servers.map(() => RedisServer.start(options.serverArgs))) : [];
    for (const [place, replica] of replicas.entries()) await follow(replica, servers[place]!);
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
    const fleet = new FaultFleet({ dir, servers, replicas, proxies, port, routers });
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

  /**
   * Kills a server whose replica has all that it has acknowledged, and lets the replica take over its address; the server comes back as the replica. False when the replica does not
   * catch up, and nothing happens.
   */
  async failOver(place: number): Promise<boolean> {
    const [server, replica] = [this.servers[place]!, this.#replicas[place]!];
    // What is not acknowledged yet is never carried out: its outcome is unknown to whoever asked.
    await ask(server, ['CLIENT', 'PAUSE', PAUSE_MS, 'WRITE']);
    const endMs = Date.now() + PAUSE_MS / 2;
    for (;;) {
      const [offset, its] = await Promise.all([offsetOf(server), offsetOf(replica)]);
      if (offset === its) break;
      if (Date.now() > endMs) {
        await ask(server, ['CLIENT', 'UNPAUSE']);
        return false;
      }
      await sleep(5);
    }
    await server.kill();
    await ask(replica, ['REPLICAOF', 'NO', 'ONE']);
    this.proxies[place]!.failOver(replica.port);
    this.servers = this.servers.with(place, replica);
    this.#replicas = this.#replicas.with(place, server);
    await server.start();
    await follow(server, replica);
    return true;
  }

  async close(): Promise<void> {
    for (const router of this.routers) router.stop();
    await this.killOwner();
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
    await Promise.all([...this.servers, ...this.#replicas].map((server) => server.stop()));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** One command on a connection of its own. */
async function ask(server: RedisServer, args: readonly (string | number)[]): Promise<Reply> {
  const link = new ServerLink({ host: '127.0.0.1', port: server.port });
  try {
    return await link.call(args);
  } finally {
    link.close();
  }
}

/** How far a server is in the stream of writes, whether it makes it or follows. */
async function offsetOf(server: RedisServer): Promise<string | undefined> {
  const fields = fieldsOfInfo(await ask(server, ['INFO', 'replication']));
  return fields.get('role') === 'master' || fields.get('master_link_status') === 'up' ? fields.get('master_repl_offset') : undefined;
}

async function follow(replica: RedisServer, server: RedisServer): Promise<void> {
  const endMs = Date.now() + UP_MS;
  // One that has just been started may still load its data.
  while (!(await isLoaded(replica)) && Date.now() < endMs) await sleep(20);
  await ask(replica, ['REPLICAOF', '127.0.0.1', server.port]);
  for (; (await offsetOf(replica)) === undefined; await sleep(20))
    if (Date.now() > endMs) throw new Error(`${replica.address} does not follow ${server.address}`);
}

async function isLoaded(server: RedisServer): Promise<boolean> {
  return fieldsOfInfo(await ask(server, ['INFO', 'persistence'])).get('loading') === '0';
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
