import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { freePorts } from '../../src/cli/up/free-port.ts';
import { FaultyLink } from '../faulty-link.ts';

const RECENT = fileURLToPath(new URL('../../.cache/nats-server/nats-server', import.meta.url));
const DEBIAN = '/usr/sbin/nats-server';

/** The nats-servers that this machine has, see scripts/servers.mjs: those that a test runs against, by what they are called. */
export const NATS_SERVERS: readonly { readonly name: string; readonly binary: string; readonly isHere: boolean }[] = [
  { name: 'nats-server 2.15', binary: RECENT },
  { name: "Debian 12's nats-server", binary: DEBIAN },
].map((server) => ({ ...server, isHere: existsSync(server.binary) }));

export const hasRecentNats: boolean = NATS_SERVERS[0]!.isHere;

interface Server {
  readonly name: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly configPath: string;
  readonly storeDir: string;
  process: ChildProcess | undefined;
}

export interface NatsServersOptions {
  /** Further lines of each server's configuration. */
  readonly lines?: string;
  /** Between the servers stand links, so that {@link NatsServers.isolate} can play a broken network. */
  readonly hasLinks?: boolean;
  /** Where a server keeps its streams, for one with a small disk. */
  readonly storeDirOf?: (index: number) => string | undefined;
}

/** Real nats-servers on loopback, one or a cluster of three, each write synced, their files in a temporary directory. */
export class NatsServers {
  readonly #binary: string;
  readonly #dir: string;
  readonly #servers: readonly Server[];
  /** From each server to each. */
  readonly #routes: readonly (readonly FaultyLink[])[];
  readonly #connections: NatsConnection[] = [];

  private constructor(binary: string, dir: string, servers: readonly Server[], routes: readonly (readonly FaultyLink[])[]) {
    this.#binary = binary;
    this.#dir = dir;
    this.#servers = servers;
    this.#routes = routes;
  }

  static async start(binary: string, count: 1 | 3, options: NatsServersOptions = {}): Promise<NatsServers> {
    const { lines = '', hasLinks = false, storeDirOf = () => undefined } = options;
    const dir = mkdtempSync(join(tmpdir(), 'keyfleet-nats-'));
    const ports = await freePorts(3 * count);
    const routePorts = ports.slice(2 * count);
    const links = hasLinks ? await Promise.all(routePorts.map(() => Promise.all(routePorts.map((port) => FaultyLink.start(port))))) : [];
    const servers = Array.from({ length: count }, (_, i): Server => {
      const [port, monitorPort, clusterPort] = [ports[i]!, ports[count + i]!, ports[2 * count + i]!];
      const name = `s${i + 1}`;
      // Itself too, as `keyfleet nats config` writes it.
      const routes = (links[i]?.map((link) => link.port) ?? routePorts).map((to) => `nats://127.0.0.1:${to}`);
      // Servers tell clients and each other of more addresses, which would lead around the links: nobody is at the one they tell.
      const advertise = hasLinks ? ', no_advertise: true, advertise: "127.0.0.1:1"' : '';
      const cluster = `cluster { name: test, listen: "127.0.0.1:${clusterPort}", routes: [${routes.join(', ')}]${advertise} }`;
      const storeDir = storeDirOf(i) ?? join(dir, name);
      const configPath = join(dir, `${name}.conf`);
      writeFileSync(
        configPath,
        `server_name: ${name}
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitorPort}"
jetstream { store_dir: ${JSON.stringify(storeDir)}${binary === DEBIAN ? '' : ', sync_interval: always'} }
${count > 1 ? cluster : ''}
${lines}
`,
      );
      return { name, port, monitorPort, configPath, storeDir, process: undefined };
    });
    const all = new NatsServers(binary, dir, servers, links);
    for (let i = 0; i < count; i++) all.startOne(i);
    await all.ready();
    return all;
  }

  get ports(): number[] {
    return this.#servers.map(({ port }) => port);
  }

  /** Of those that run. */
  get pids(): number[] {
    return this.#servers.flatMap(({ process }) => process?.pid ?? []);
  }

  get urls(): string[] {
    return this.#servers.map(({ port }) => `nats://127.0.0.1:${port}`);
  }

  get monitors(): string[] {
    return this.#servers.map(({ monitorPort }) => `http://127.0.0.1:${monitorPort}`);
  }

  get names(): string[] {
    return this.#servers.map(({ name }) => name);
  }

  startOne(index: number): void {
    const server = this.#servers[index]!;
    server.process = spawn(this.#binary, ['-c', server.configPath], { stdio: 'ignore' });
  }

  /** kill -9, and waits until it is gone. */
  async kill(index: number): Promise<void> {
    const server = this.#servers[index]!;
    const { process } = server;
    server.process = undefined;
    if (process === undefined || process.exitCode !== null) return;
    const exited = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGKILL');
    await exited;
  }

  /** SIGSTOP, or SIGCONT to go on. */
  signal(index: number, name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#servers[index]!.process?.kill(name);
  }

  /** Ends it as an operator would. */
  async end(index: number): Promise<void> {
    const server = this.#servers[index]!;
    const { process } = server;
    server.process = undefined;
    if (process === undefined || process.exitCode !== null) return;
    const exited = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGTERM');
    await exited;
  }

  /** Kills all, takes away what these had on disk, and starts all again. */
  async wipe(indexes: readonly number[]): Promise<void> {
    await Promise.all(this.#servers.map((_, index) => this.kill(index)));
    for (const index of indexes) rmSync(this.#servers[index]!.storeDir, { recursive: true, force: true });
    for (let index = 0; index < this.#servers.length; index++) this.startOne(index);
    await this.ready();
  }

  /** Kills all, keeps a copy of what they have on disk, and starts them again. */
  async copyDisks(): Promise<void> {
    await Promise.all(this.#servers.map((_, index) => this.kill(index)));
    for (const { name } of this.#servers) cpSync(join(this.#dir, name), join(this.#dir, `${name}.copy`), { recursive: true });
    for (let index = 0; index < this.#servers.length; index++) this.startOne(index);
    await this.ready();
  }

  /** Kills all, gives some of them what {@link copyDisks} kept, as after a restore from an old image, and starts all again. */
  async rollBack(indexes: readonly number[]): Promise<void> {
    await Promise.all(this.#servers.map((_, index) => this.kill(index)));
    for (const index of indexes) {
      const dir = join(this.#dir, this.#servers[index]!.name);
      rmSync(dir, { recursive: true, force: true });
      cpSync(`${dir}.copy`, dir, { recursive: true });
    }
    for (let index = 0; index < this.#servers.length; index++) this.startOne(index);
    await this.ready();
  }

  /** The others hear nothing of it any more, nor it of them, until {@link rejoin}. */
  isolate(index: number): void {
    for (const link of this.#linksOf(index)) link.cut();
  }

  rejoin(index: number): void {
    for (const link of this.#linksOf(index)) link.open();
  }

  #linksOf(index: number): FaultyLink[] {
    if (this.#routes.length === 0) throw new Error('these servers have no links between them');
    return this.#routes.flatMap((row, from) => row.filter((_, to) => (from === index) !== (to === index)));
  }

  /** Waits until a stream can be made and written. */
  async ready(): Promise<void> {
    await waitFor('nats-servers that can hold streams', async () => {
      const healthy = await Promise.all(
        this.#servers
          .filter(({ process }) => process)
          .map(async ({ monitorPort }) => (await fetch(`http://127.0.0.1:${monitorPort}/healthz`)).ok),
      );
      return healthy.every(Boolean);
    });
  }

  async connect(): Promise<NatsConnection> {
    const connection = await connect({ servers: this.urls, maxReconnectAttempts: -1, reconnectTimeWait: 100, ignoreClusterUpdates: true });
    this.#connections.push(connection);
    return connection;
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections) await connection.close();
    for (let i = 0; i < this.#servers.length; i++) await this.kill(i);
    await Promise.all(this.#routes.flat().map((link) => link.close()));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Tries again, errors included, until it is true. */
export async function waitFor(what: string, isTrue: () => Promise<boolean>, limitMs = 30_000): Promise<void> {
  const endMs = Date.now() + limitMs;
  let last: unknown;
  while (Date.now() < endMs) {
    try {
      if (await isTrue()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited ${limitMs} ms for ${what}`, { cause: last });
}
