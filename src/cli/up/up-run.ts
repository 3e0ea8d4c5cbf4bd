import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { findNatsServer, type NatsBinary } from '../../nats/find-server.ts';
import { isOlder, OLDEST_SAFE_SERVER } from '../../nats/server-check.ts';
import { monitorUrls, type NatsClusterPlan, natsServerConfig, natsUrls } from '../../nats/server-config.ts';
import { canTakeStreams } from '../../nats/server-health.ts';
import { EXIT } from '../terminal/exit-code.ts';
import { wholeNumber } from '../terminal/number-flags.ts';
import { columns } from '../terminal/text-output.ts';
import { usage } from '../terminal/usage.ts';
import { LogTail } from './log-tail.ts';
import { type ChildSpec, Supervisor } from './supervisor.ts';
import { serveControl, type UpActions } from './up-control.ts';
import { refuseTaken, savePlan, settlePlan, type UpNode, type UpPlan, withAnotherNode } from './up-plan.ts';

export interface UpFlags {
  readonly dir: string;
  readonly nodes?: string;
  readonly natsServers?: string;
  readonly replication?: string;
  readonly basePort?: string;
  readonly cluster?: string;
  readonly natsServer?: string;
  readonly restart?: boolean;
  readonly verbose?: boolean;
}

/** A node that is asked to end answers what is under way and hands over its shards. */
const NODE_GRACE_MS = 15_000;
const NATS_GRACE_MS = 10_000;
const PROBE_MS = 2_000;
const LEFTOVER_MS = 10_000;
/** Between an end and the start again, with --restart: longer each time, until it has stayed up for a while. */
const RESTART_MS = [1_000, 2_000, 5_000, 15_000];
const STAYED_UP_MS = 60_000;

/** Runs a cluster on this machine until a signal ends it; resolves to the exit code. @throws KF_… when it cannot begin; nothing is left running then. */
export async function runUp(flags: UpFlags, serveArgs: readonly string[]): Promise<number> {
  const binary = await findNatsServer({ path: flags.natsServer });
  const dir = resolve(flags.dir);
  const plan = await settlePlan(dir, {
    nodes: wholeNumber('--nodes', flags.nodes, 0),
    natsServers: wholeNumber('--nats-servers', flags.natsServers, 0),
    replication: wholeNumber('--replication', flags.replication, 0),
    basePort: wholeNumber('--base-port', flags.basePort, 0),
    cluster: flags.cluster,
    serveArgs: serveArgs.length === 0 ? undefined : serveArgs,
  });
  return new LocalCluster(dir, plan, binary, flags).run();
}

class LocalCluster {
  readonly #dir: string;
  #plan: UpPlan;
  readonly #binary: NatsBinary;
  readonly #nats: NatsClusterPlan;
  readonly #flags: UpFlags;
  readonly #supervisor: Supervisor;
  readonly #tails = new Map<string, LogTail>();
  readonly #deaths = new Map<string, { count: number; atMs: number }>();
  #isEnding = false;

  constructor(dir: string, plan: UpPlan, binary: NatsBinary, flags: UpFlags) {
    this.#dir = dir;
    this.#plan = plan;
    this.#binary = binary;
    this.#flags = flags;
    this.#nats = {
      name: plan.cluster,
      version: binary.version,
      servers: plan.nats.map((one) => ({ ...one, host: '127.0.0.1', zone: one.name, storeDir: join(dir, one.name) })),
    };
    this.#supervisor = new Supervisor({ onDeath: (name, how) => this.#died(name, how) });
  }

  async run(): Promise<number> {
    const signal = firstSignal(() => this.#killAll());
    const control = await serveControl(this.#plan, this.#actions());
    try {
      const begun = this.#begin();
      begun.catch(() => {});
      const ended = await Promise.race([begun, signal]);
      if (ended === undefined) {
        process.stdout.write(this.#banner());
        await signal;
      }
      return EXIT.ok;
    } finally {
      this.#isEnding = true;
      control.close();
      await this.#end();
    }
  }

  async #begin(): Promise<undefined> {
    const { nats, nodes, controlPort } = this.#plan;
    say(
      `${nats.length} nats-servers ${this.#binary.version} (${this.#binary.path}) and ${nodes.length} nodes, in ${this.#dir}; control port ${controlPort}`,
    );
    if (this.#isUnsafe)
      say(`nats-server ${this.#binary.version} may lose answered writes when the machine loses power; ${OLDEST_SAFE_SERVER} does not`);
    await this.#waitForPorts();
    mkdirSync(join(this.#dir, 'logs'), { recursive: true, mode: 0o700 });
    await Promise.all(nats.map((_, index) => this.#start(this.#natsSpec(index))));
    await Promise.all(nodes.map((node) => this.#start(this.#nodeSpec(node))));
    return undefined;
  }

  /** What a `keyfleet up` that was killed has left is ended by its guard, which takes a moment. @throws KF_LISTEN_FAILED */
  async #waitForPorts(): Promise<void> {
    const { nats, nodes } = this.#plan;
    const ports = [
      ...nats.flatMap((one) => [one.clientPort, one.routePort, one.monitorPort]),
      ...nodes.flatMap(({ respPort, httpPort }) => [respPort, httpPort]),
    ];
    const endMs = Date.now() + LEFTOVER_MS;
    for (;;) {
      try {
        return await refuseTaken(ports);
      } catch (error) {
        if (Date.now() > endMs || this.#isEnding) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS / 10));
    }
  }

  /** The nodes first, while the nats-servers still take what they have to say. */
  async #end(): Promise<void> {
    const running = this.#supervisor.states().filter(({ state }) => state !== 'ended');
    if (running.length > 0) say('ending: the nodes, then the nats-servers');
    for (const [names, graceMs] of [
      [this.#plan.nodes.map(({ name }) => name), NODE_GRACE_MS],
      [this.#plan.nats.map(({ name }) => name), NATS_GRACE_MS],
    ] as const) {
      const forced = await Promise.all(names.map(async (name) => ((await this.#supervisor.stop(name, graceMs)) ? name : '')));
      for (const name of forced.filter((one) => one !== '')) say(`${name} did not end in time and was ended with -9`);
    }
    for (const tail of this.#tails.values()) tail.close();
    this.#supervisor.close();
    if (running.length > 0) say(`ended; everything answered is in ${this.#dir}`);
  }

  #killAll(): void {
    this.#supervisor.killAll();
    process.exit(EXIT.interrupted);
  }

  async #start(spec: ChildSpec): Promise<void> {
    if (this.#isEnding) throw new KeyfleetError('KF_CLOSED', 'everything is being ended');
    if (this.#flags.verbose && !this.#tails.has(spec.name))
      this.#tails.set(spec.name, new LogTail(spec.logFile, (line) => process.stderr.write(`${spec.name.padEnd(7)} | ${line}\n`)));
    await this.#supervisor.start(spec);
  }

  #died(name: string, how: string): void {
    if (this.#isEnding) return;
    if (!this.#flags.restart) {
      say(`${name} ${how}. Start it again: ${this.#command(`start ${name}`)}`);
      return;
    }
    const before = this.#deaths.get(name);
    const deaths = before && Date.now() - before.atMs < STAYED_UP_MS ? before.count + 1 : 1;
    this.#deaths.set(name, { count: deaths, atMs: Date.now() });
    const waitMs = RESTART_MS[Math.min(deaths, RESTART_MS.length) - 1]!;
    say(`${name} ${how}. It is started again in ${waitMs / 1_000} s`);
    setTimeout(() => {
      if (this.#isEnding) return;
      this.#start(this.#specOf(name)).then(
        () => say(`${name} runs again`),
        (error: unknown) => say(messageOf(error)),
      );
    }, waitMs).unref();
  }

  #actions(): UpActions {
    return {
      list: async () => this.#table(),
      start: async (name) => {
        await this.#start(this.#specOf(name));
        say(`${name} was started`);
        return `${name} runs`;
      },
      stop: async (name) => {
        this.#specOf(name);
        const forced = await this.#supervisor.stop(name, NODE_GRACE_MS);
        say(`${name} was stopped`);
        return forced ? `${name} did not end in time and was ended with -9` : `${name} has ended`;
      },
      add: async () => {
        this.#plan = await withAnotherNode(this.#plan);
        savePlan(this.#dir, this.#plan);
        const node = this.#plan.nodes.at(-1)!;
        await this.#start(this.#nodeSpec(node));
        say(`${node.name} was added`);
        return `${node.name} runs: redis-cli -p ${node.respPort}, http://127.0.0.1:${node.httpPort}`;
      },
      remove: async (name) => {
        if (!this.#plan.nodes.some((one) => one.name === name)) throw usage(`there is no node ${name}`);
        if (this.#plan.nodes.length === 1) throw usage('the last node stays; Ctrl-C ends everything');
        await this.#supervisor.stop(name, NODE_GRACE_MS);
        this.#supervisor.forget(name);
        this.#plan = { ...this.#plan, nodes: this.#plan.nodes.filter((one) => one.name !== name) };
        savePlan(this.#dir, this.#plan);
        say(`${name} was taken out`);
        return `${name} is run no more; its data are still in ${join(this.#dir, name)}`;
      },
    };
  }

  /** @throws KF_USAGE */
  #specOf(name: string): ChildSpec {
    const index = this.#plan.nats.findIndex((one) => one.name === name);
    if (index >= 0) return this.#natsSpec(index);
    const node = this.#plan.nodes.find((one) => one.name === name);
    if (node === undefined) throw usage(`there is no ${JSON.stringify(name)} here: ${this.#names().join(', ')}`);
    return this.#nodeSpec(node);
  }

  #natsSpec(index: number): ChildSpec {
    const { name, monitorPort } = this.#plan.nats[index]!;
    const file = join(this.#dir, `${name}.conf`);
    writeFileSync(file, natsServerConfig(this.#nats, index), { mode: 0o600 });
    return {
      name,
      command: this.#binary.path,
      args: ['-c', file],
      logFile: this.#logOf(name),
      isUp: () => canTakeStreams(`http://127.0.0.1:${monitorPort}`),
    };
  }

  #nodeSpec({ name, respPort, httpPort }: UpNode): ChildSpec {
    const { cluster, replication, serveArgs } = this.#plan;
    return {
      name,
      command: process.execPath,
      args: [
        program(),
        'serve',
        ...['--cluster', cluster, '--node', name, '--replication', String(replication)],
        ...['--nats', natsUrls(this.#nats).join(','), '--nats-monitor', ...monitorUrls(this.#nats)],
        ...['--dir', join(this.#dir, name), '--resp', String(respPort), '--http', String(httpPort)],
        ...(this.#isUnsafe ? ['--allow-unsafe-nats'] : []),
        ...serveArgs,
      ],
      logFile: this.#logOf(name),
      isUp: () => answersOk(`http://127.0.0.1:${httpPort}/readyz`),
    };
  }

  get #isUnsafe(): boolean {
    return isOlder(this.#binary.version, OLDEST_SAFE_SERVER);
  }

  #logOf(name: string): string {
    return join(this.#dir, 'logs', `${name}.log`);
  }

  #names(): string[] {
    return [...this.#plan.nats, ...this.#plan.nodes].map(({ name }) => name);
  }

  #command(rest: string): string {
    return `keyfleet up ${rest}${this.#flags.dir === './keyfleet-cluster' ? '' : ` --dir ${this.#flags.dir}`}`;
  }

  #table(): string {
    const states = new Map(this.#supervisor.states().map((state) => [state.name, state]));
    const row = (name: string, where: string): string[] => {
      const state = states.get(name);
      return [
        name,
        state?.pid === undefined ? '' : `pid ${state.pid}`,
        state?.ended ?? state?.state ?? 'not started',
        where,
        state?.logFile ?? '',
      ];
    };
    return columns([
      ['', '', '', '', 'log'],
      ...this.#plan.nats.map(({ name, clientPort, monitorPort }) =>
        row(name, `nats://127.0.0.1:${clientPort}, http://127.0.0.1:${monitorPort}`),
      ),
      ...this.#plan.nodes.map(({ name, respPort, httpPort }) => row(name, `redis-cli -p ${respPort}, http://127.0.0.1:${httpPort}`)),
    ]).trimEnd();
  }

  #banner(): string {
    const { cluster, nodes } = this.#plan;
    const [first, other = first] = nodes as [UpNode, UpNode?];
    const lines = [
      `cluster ${cluster} is up`,
      ...this.#table()
        .split('\n')
        .map((line) => `  ${line}`),
      '',
      'Try, in another terminal; every node answers for all keys:',
      `  redis-cli -p ${first.respPort} set greeting hello`,
      `  redis-cli -p ${other.respPort} get greeting`,
      `  redis-cli -c -p ${first.respPort} cluster nodes`,
      `  curl http://127.0.0.1:${other.httpPort}/v1/keyspaces/default/keys/greeting`,
      `  keyfleet status --url http://127.0.0.1:${first.httpPort}`,
      `  ${this.#command('add')}          # a node more`,
      `  kill -9 PID                # of any of them, then: ${this.#command('start NAME')}`,
      'Ctrl-C ends it.',
      '',
    ];
    return `${lines.join('\n')}\n`;
  }
}

/** Where the executable of this package is. */
function program(): string {
  const built = fileURLToPath(new URL('../keyfleet.cjs', import.meta.url));
  return existsSync(built) ? built : process.argv[1]!;
}

async function answersOk(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(PROBE_MS) });
  await response.arrayBuffer();
  return response.ok;
}

/** The first signal to end. A second Ctrl-C ends everything at once. */
function firstSignal(second: () => void): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      let count = 0;
      process.on(name, () => {
        resolve(name);
        if (++count > 1 && name === 'SIGINT') second();
      });
    }
  });
}

/** What happens, for whoever started it. */
function say(text: string): void {
  process.stderr.write(`keyfleet up: ${text}\n`);
}
