import { toHex } from '../../src/base/bytes.ts';
import { isKeyfleetError } from '../../src/base/errors.ts';
import type { ClusterAccess } from '../../src/node/cluster/cluster-access.ts';
import type { ClusterNodeOptions } from '../../src/node/cluster/cluster-options.ts';
import type { KeyspaceView, ShardView } from '../../src/node/cluster/cluster-view.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { META_SHARD_ID } from '../../src/shard/meta/meta-records.ts';
import type { KeyspacePolicy } from '../../src/shard/policy.ts';
import { positionScheme } from '../../src/shard/position-scheme.ts';
import { SnapshotReader } from '../../src/shard/replica/snapshot.ts';
import { decodeShardState, type ShardState } from '../../src/shard/shard-state.ts';
import { countsRange, SlotCounts } from '../../src/shard/slot-counts.ts';
import type { SimMachine } from '../sim-machine.ts';
import type { World } from '../world.ts';
import { ClientProcess } from './client-process.ts';
import { ClusterProcess } from './cluster-process.ts';
import { KEYSPACE, type KeyspaceProcess, type ProcessSurroundings } from './keyspace-process.ts';
import { LogLosses } from './log-losses.ts';
import { SimLogs } from './sim-shard-logs.ts';

// Nodes as they ship, on simulated ports, and what must hold of them. At any time: no two replicas of a shard have run different entries. When all is
// healed and quiet: no workflow is under way, the shards cover all positions once, each has as many replicas as it is to have, all of those hold the
// same bytes, there is no log that nobody needs, and clients have the map that nodes have.

export interface ClusterSettings {
  readonly options: Partial<ClusterNodeOptions>;
  readonly policy: Partial<KeyspacePolicy>;
  /** To begin with. */
  readonly shards: number;
  readonly zoneOf: (node: string) => string;
}

const LOOK_MS = 500;
const POSITIONS = 0x1_0000_0000;
const SCHEME = positionScheme('redis');
/** How the keys of counts by slot begin. */
const COUNTS = toHex(countsRange(0).from).slice(0, 10);

export type ClusterWorld = World<ClusterProcess, KeyspaceProcess>;

export class SimCluster {
  readonly world: ClusterWorld;
  readonly logs = new SimLogs();
  readonly losses: LogLosses;
  readonly #settings: ClusterSettings;
  readonly #clients: SimMachine<ClientProcess>[] = [];
  /** By shard, generation and entry: what replicas had come to. */
  readonly #hashes = new Map<string, { readonly hash: string; readonly node: string }>();
  readonly #seenWorkflows = new Map<number, string>();

  constructor(world: ClusterWorld, settings: ClusterSettings) {
    this.world = world;
    this.#settings = settings;
    this.losses = new LogLosses(world, this.logs);
  }

  /** A machine whose process does not run yet. */
  add(name: string): SimMachine<ClusterProcess> {
    const { scheduler } = this.world;
    const surroundings = { ...this.#surroundings(), scheduler, logs: this.logs, ...this.#settings };
    return this.world.add(name, {
      boot: (self) => new ClusterProcess(self, surroundings),
      died: () => {},
      stepped: () => scheduler.promisesMoved(),
    });
  }

  /** A machine with a client of the cluster, which does not run yet. */
  addClient(name: string, requestTimeoutMs: number): SimMachine<ClientProcess> {
    const surroundings = { ...this.#surroundings(), ...this.#settings, requestTimeoutMs };
    const machine = this.world.addClient<ClientProcess>(name, {
      boot: (self) => new ClientProcess(self, surroundings),
      died: () => {},
      stepped: () => this.world.scheduler.promisesMoved(),
    });
    this.#clients.push(machine);
    return machine;
  }

  #surroundings(): Pick<ProcessSurroundings, 'faults' | 'network' | 'losses' | 'onBackgroundError' | 'fail'> {
    const { world, losses } = this;
    const { faults, network, fail } = world;
    const onBackgroundError = (machine: string, error: Error): void => {
      world.tell(`${machine}: ${error.message}`);
      // Nothing that is simulated damages what a disk has.
      if (isKeyfleetError(error) && error.code === 'KF_REPLICA_DIFFERS') fail(`${machine}: ${error.message}`);
    };
    return { faults, network, losses, onBackgroundError, fail };
  }

  /** How many splits, merges and moves were seen under way. */
  get workflows(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const kind of this.#seenWorkflows.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  /** Entries of all logs that there are. */
  get entries(): number {
    return [...this.logs.all.values()].reduce((sum, { lastSeq }) => sum + lastSeq, 0);
  }

  /** Waits until all is as it must be in the end; after `limitMs` that is a failure. */
  async settle(limitMs: number): Promise<void> {
    const { scheduler, hasFailed, fail } = this.world;
    const lastMs = scheduler.nowMs + limitMs;
    let open: string[] = ['nothing has been looked at'];
    for (let untilMs = scheduler.nowMs; untilMs < lastMs && open.length > 0 && !hasFailed(); untilMs += 100) {
      await scheduler.run(untilMs, hasFailed);
      open = this.#notSettled();
    }
    if (open.length > 0) fail(`long after everything was healed: ${open.join('; ')}`);
  }

  /** Tells where each node stands, and the map as the first one sees it. */
  show(): void {
    const { world } = this;
    for (const machine of world.machines) world.tell(this.#show(machine));
    const view = world.machines[0]?.process?.node?.view();
    for (const { shards, workflows } of view?.keyspaces ?? []) {
      for (const { id, replicas, generation, lost } of shards) {
        world.tell(
          `shard ${id} on ${replicas.join(', ')}, generation ${generation}${lost ? `, lost: ${JSON.stringify(lost.verdict)}` : ''}`,
        );
      }
      for (const workflow of workflows) world.tell(JSON.stringify(workflow));
    }
  }

  /** Where a node stands: of each log, as which entry its replica is, and who leads it. */
  #show(machine: SimMachine<ClusterProcess>): string {
    const shards = [...this.logs.all].map(([name, { lastSeq }]) => {
      const state = stateOf(machine, Number(name.split('.')[0]));
      return state ? `${name} ${state.status} ${state.applied}/${lastSeq} epoch ${state.epoch} of ${state.leader}` : `${name} -`;
    });
    return `${machine.name} ${machine.process?.isReady ? 'ready' : 'not ready'}: ${shards.join('; ')}`;
  }

  /** Now and then: no two replicas of a shard have run different entries. */
  watch(): void {
    this.world.scheduler.after(LOOK_MS, 'look', () => {
      if (this.world.faults.enabled.has('log-lost')) this.losses.look();
      for (const machine of this.world.machines) {
        for (const { workflows = [], shards } of machine.process?.node?.keyspaceRecords() ?? []) {
          for (const { op, kind } of workflows) this.#seenWorkflows.set(op, kind);
          for (const { id } of shards) this.#compareHash(machine, id);
        }
        this.#compareHash(machine, META_SHARD_ID);
      }
      this.watch();
    });
  }

  #compareHash(machine: SimMachine<ClusterProcess>, shard: number): void {
    const state = stateOf(machine, shard);
    if (!state) return;
    this.world.leaderships = Math.max(this.world.leaderships, state.epoch);
    const name = `${shard}.${state.logGeneration} ${state.applied}`;
    const hash = toHex(state.hash);
    const known = this.#hashes.get(name);
    if (!known) this.#hashes.set(name, { hash, node: machine.name });
    else if (known.hash !== hash && state.status !== 'faulted') {
      this.world.fail(`after entry ${state.applied} of shard ${shard} ${machine.name} has another past than ${known.node}`);
    }
  }

  /** What is not yet as it must be in the end. */
  #notSettled(): string[] {
    const wrong: string[] = [];
    const views = this.world.machines.map(({ process }) => process?.node?.view());
    const metaSeqs = new Set(this.world.machines.map((machine) => stateOf(machine, META_SHARD_ID)?.applied));
    if (metaSeqs.size > 1) wrong.push(`replicas of the meta shard are at ${[...metaSeqs].join(', ')}`);
    const keyspace = views[0]?.keyspaces.find(({ name }) => name === KEYSPACE);
    if (!keyspace) return [...wrong, 'the keyspace is not there'];
    if (keyspace.workflows.length > 0) wrong.push(`under way: ${JSON.stringify(keyspace.workflows)}`);
    wrong.push(...this.#wrongMap(keyspace, views[0]!.replication));
    for (const shard of keyspace.shards) wrong.push(...this.#wrongShard(keyspace, shard));
    for (const { name, process } of this.#clients)
      if (mapOf(process?.client) !== mapOf(this.world.machines[0]?.process?.node)) wrong.push(`${name} has another map`);
    const metaLog = `${META_SHARD_ID}.${stateOf(this.world.machines[0]!, META_SHARD_ID)?.logGeneration}`;
    const shards = views[0]!.keyspaces.flatMap((one) => one.shards);
    const wanted = new Set([metaLog, ...shards.map(({ id, generation }) => `${id}.${generation}`)]);
    const tooMany = [...this.logs.all.keys()].filter((name) => !wanted.has(name));
    if (tooMany.length > 0) wrong.push(`logs that nobody needs: ${tooMany.join(', ')}`);
    return wrong;
  }

  #wrongMap({ shards }: KeyspaceView, replication: number): string[] {
    const wrong: string[] = [];
    const sorted = [...shards].sort((a, b) => a.range.from - b.range.from);
    let at = 0;
    for (const { id, range, replicas } of sorted) {
      if (range.from !== at) wrong.push(`shard ${id} begins at ${range.from} where ${at} comes next`);
      at = range.to;
      const count = Math.min(replication, this.world.machines.length);
      if (replicas.length !== count) wrong.push(`shard ${id} is on ${replicas.join(', ')}, not on ${count} nodes`);
    }
    if (at !== POSITIONS) wrong.push(`the shards end at ${at}`);
    return wrong;
  }

  #wrongShard(keyspace: KeyspaceView, { id, generation, replicas, range }: ShardView): string[] {
    const log = this.logs.get(id, generation);
    if (!log) return [`shard ${id} has no log`];
    let first: string | undefined;
    for (const name of replicas) {
      const machine = this.world.machines.find((one) => one.name === name)!;
      const state = stateOf(machine, id);
      if (state?.status !== 'serving') return [`shard ${id} is ${state?.status ?? 'nothing'} on ${name}`];
      if (state.applied !== log.lastSeq) return [`shard ${id} on ${name} is at entry ${state.applied} of ${log.lastSeq}`];
      if (state.range.from !== range.from || state.range.to !== range.to)
        return [`shard ${id} on ${name} has another range than the map says`];
      const content = contentOf(machine, id, keyspace.id);
      first ??= content;
      if (content !== first) {
        this.world.fail(`${name} does not hold the same bytes of shard ${id} as ${replicas[0]}: ${differenceOf(content, first)}`);
        return [];
      }
    }
    return [];
  }
}

/** Shards and where they are, and which nodes there are, as a node or a client has it. */
function mapOf(access: ClusterAccess | undefined): string {
  const { nodes, keyspaces } = access?.view() ?? { nodes: [], keyspaces: [] };
  const shards = keyspaces.flatMap((one) => one.shards.map(({ id, range, replicas, generation }) => ({ id, range, replicas, generation })));
  return JSON.stringify([nodes.map(({ id, status }) => ({ id, status })), shards]);
}

/** What a machine's disk says of a shard. */
export function stateOf({ storage }: SimMachine<ClusterProcess>, shard: number): ShardState | undefined {
  const stored = storage.get(stateKey(shard));
  return stored && decodeShardState(stored);
}

/** All that a replica holds. */
function contentOf({ storage }: SimMachine<ClusterProcess>, shard: number, keyspaceId: number): string {
  const reader = new SnapshotReader(storage, shard, keyspaceId, 1 << 20);
  const pairs: string[] = [];
  for (let chunk = reader.next(); chunk; chunk = reader.next()) pairs.push(...pairsOf(chunk));
  // How counts by slot are stored depends on when they were read last; what they say does not.
  const { countsSince: since, ...state } = reader.state;
  const counts = SlotCounts.load(storage, { ...state, shift: SCHEME.slotShift, since });
  for (let slot = counts.firstSlot; slot < counts.endSlot; slot++) {
    const { keys, bytes } = counts.sum(slot, slot + 1);
    if (keys > 0) pairs.push(`slot ${slot} ${keys} ${bytes}`);
  }
  return pairs.filter((pair) => !pair.startsWith(COUNTS)).join('\n');
}

function pairsOf(chunk: Uint8Array): string[] {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const pairs: string[] = [];
  for (let at = 0; at < chunk.length; ) {
    const valueAt = at + 6 + view.getUint16(at);
    const end = valueAt + view.getUint32(at + 2);
    pairs.push(`${toHex(chunk.subarray(at + 6, valueAt))} ${toHex(chunk.subarray(valueAt, end))}`);
    at = end;
  }
  return pairs;
}

/** The first pair that only one of two replicas has. */
function differenceOf(one: string, other: string): string {
  const [left, right] = [one.split('\n'), other.split('\n')];
  const ofLeft = left.find((pair) => !right.includes(pair));
  const ofRight = right.find((pair) => !left.includes(pair));
  return `${ofLeft ?? 'nothing'} against ${ofRight ?? 'nothing'}`;
}
