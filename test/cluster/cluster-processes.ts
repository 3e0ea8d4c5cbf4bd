import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../src/cli/up/free-port.ts';
import { canTakeStreams } from '../../src/nats/server-health.ts';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';
import { FaultyLink } from '../faulty-link.ts';
import { NatsServers, waitFor } from '../nats/nats-servers.ts';

const LEDGER = fileURLToPath(new URL('./ledger-module.mjs', import.meta.url));

export interface ClusterOptions {
  /** The nats-server to run three of. */
  readonly binary: string;
  readonly nodes?: number;
  readonly shards?: number;
  /** Between nodes and nats-servers, and between the latter, stand links that can be cut. */
  readonly hasLinks?: boolean;
  /** Where a node has its data, for one with a small disk. */
  readonly dirOf?: (index: number) => string | undefined;
  /** Where a nats-server keeps its streams, for one with a small disk. */
  readonly storeDirOf?: (index: number) => string | undefined;
  /** Serves the keyspace `ledger` too (the default). */
  readonly hasLedger?: boolean;
  /** More flags for every node. */
  readonly args?: readonly string[];
}

interface Node {
  readonly id: string;
  readonly respPort: number;
  readonly httpPort: number;
  readonly dir: string;
  readonly links: readonly FaultyLink[];
  process: KeyfleetProcess | undefined;
}

/** Three nats-servers and some `keyfleet serve --cluster`, each a real process, on loopback, in a temporary directory. */
export class ClusterProcesses {
  readonly nats: NatsServers;
  readonly #dir: string;
  readonly #nodes: Node[] = [];
  readonly #options: ClusterOptions;

  private constructor(nats: NatsServers, dir: string, options: ClusterOptions) {
    this.nats = nats;
    this.#dir = dir;
    this.#options = options;
  }

  static async start(options: ClusterOptions): Promise<ClusterProcesses> {
    const nats = await NatsServers.start(options.binary, 3, options);
    const cluster = new ClusterProcesses(nats, mkdtempSync(join(tmpdir(), 'keyfleet-cluster-')), options);
    try {
      await waitFor('nats-servers that take streams', async () =>
        (await Promise.all(nats.monitors.map((url) => canTakeStreams(url)))).every(Boolean),
      );
      for (let i = 0; i < (options.nodes ?? 3); i++) await cluster.addNode();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get ids(): string[] {
    return this.#nodes.map(({ id }) => id);
  }

  /** Of those nodes that run. */
  get urls(): string[] {
    return this.#nodes.filter(({ process }) => process).map(({ httpPort }) => `http://127.0.0.1:${httpPort}`);
  }

  /** Of those nodes that run. */
  get pids(): number[] {
    return this.#nodes.flatMap(({ process }) => process?.child.pid ?? []);
  }

  urlOf(index: number): string {
    return `http://127.0.0.1:${this.#nodes[index]!.httpPort}`;
  }

  respPort(index: number): number {
    return this.#nodes[index]!.respPort;
  }

  logOf(index: number): string {
    return this.#nodes[index]!.process?.stderr ?? '';
  }

  async addNode(): Promise<number> {
    const index = this.#nodes.length;
    const id = `node-${index + 1}`;
    const [respPort, httpPort] = await freePorts(2);
    const links = this.#options.hasLinks ? await Promise.all(this.nats.ports.map((port) => FaultyLink.start(port))) : [];
    const dir = this.#options.dirOf?.(index) ?? join(this.#dir, id);
    mkdirSync(dir, { recursive: true });
    this.#nodes.push({ id, respPort: respPort!, httpPort: httpPort!, dir, links, process: undefined });
    await this.startNode(index);
    return index;
  }

  async startNode(index: number): Promise<void> {
    this.launchNode(index);
    await this.ready(index);
  }

  /** Without waiting until it is ready. */
  launchNode(index: number): void {
    const node = this.#nodes[index]!;
    const nats = (node.links.length > 0 ? node.links.map(({ port }) => port) : this.nats.ports).map((port) => `nats://127.0.0.1:${port}`);
    const { shards = 6, hasLedger = true, args = [] } = this.#options;
    const ports = ['--resp', String(node.respPort), '--http', String(node.httpPort)];
    const cluster = ['--cluster', 'test', '--node', node.id, '--dir', node.dir, '--nats', nats.join(','), '--allow-unsafe-nats'];
    const ledger = hasLedger ? ['--module', `ledger=${LEDGER}`] : [];
    node.process = new KeyfleetProcess(['serve', ...cluster, ...ports, '--shards', String(shards), ...ledger, ...args]);
  }

  async ready(index: number): Promise<void> {
    const node = this.#nodes[index]!;
    let ended: string | undefined;
    void node.process!.ended.then(({ code, signal, stderr }) => {
      ended = `${node.id} ended with ${code ?? signal}:\n${stderr}`;
    });
    await waitFor(
      `${node.id} to be ready`,
      async () => ended !== undefined || (await fetch(`${this.urlOf(index)}/readyz`, { signal: AbortSignal.timeout(2_000) })).ok,
      60_000,
    );
    if (ended !== undefined) throw new Error(ended);
  }

  /** kill -9. */
  async kill(index: number): Promise<void> {
    const node = this.#nodes[index]!;
    const { process } = node;
    node.process = undefined;
    await process?.kill('SIGKILL');
  }

  /** As an operator ends it. Answers its exit code. */
  async end(index: number): Promise<number | null> {
    const node = this.#nodes[index]!;
    const { process } = node;
    node.process = undefined;
    return (await process!.kill('SIGTERM')).code;
  }

  signal(index: number, name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#nodes[index]!.process?.child.kill(name);
  }

  /** What stands between a node and the nats-servers, in their order. */
  linksOf(index: number): readonly FaultyLink[] {
    return this.#nodes[index]!.links;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((_, index) => this.kill(index)));
    await Promise.all(this.#nodes.flatMap(({ links }) => links.map((link) => link.close())));
    await this.nats.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
