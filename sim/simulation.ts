import { toHex } from '../src/base/bytes.ts';
import type { ShardState } from '../src/shard/shard-state.ts';
import { FAULT_KINDS, type FaultKind, Faults } from './faults.ts';
import { showViolation } from './linearizability/show-violation.ts';
import { Scheduler } from './scheduler.ts';
import { SimClient } from './sim-client.ts';
import { SimLog } from './sim-log.ts';
import { SimNode } from './sim-node.ts';
import { Workload } from './workload/workload.ts';

// One run: some nodes, one shard on all of them, clients, and the faults that the seed chose. First a while in which anything may go wrong and nothing
// may be wrong (safety); then everything is healed, and within bounded time all must work again and all replicas be equal (liveness).

export interface SimulationOptions {
  readonly seed: number;
  /** Of simulated time, the healed end not counted. */
  readonly seconds: number;
  /** Instead of what the seed would choose. */
  readonly faults?: readonly FaultKind[];
}

export interface SimulationResult {
  readonly seed: number;
  /** What was wrong; undefined: nothing. */
  readonly failure: string | undefined;
  readonly simulatedMs: number;
  readonly events: number;
  readonly traceHash: string;
  readonly requests: number;
  readonly answered: number;
  /** Keys whose histories were judged, and those that were too hard to judge. */
  readonly histories: number;
  readonly undecided: number;
  readonly entries: number;
  readonly leaderships: number;
  readonly faults: ReadonlyMap<FaultKind, number>;
}

const SHARD = 1;

/**
 * What a run is after. `stale-reads`: short troubles of the leader, impatient writers, patient readers, few keys. `lost-appends`: a log of which nobody
 * knows what it took, and clients that do not repeat. `snapshots`: replicas that are away for longer than the log waits. `nothing`: whatever comes.
 */
type Hunt = 'nothing' | 'stale-reads' | 'lost-appends' | 'snapshots';

const HUNTED_WITH: Readonly<Record<Hunt, readonly FaultKind[] | undefined>> = {
  nothing: undefined,
  'stale-reads': ['partition', 'pause', 'resign', 'slow-log', 'clock-rates', 'hint-lost'],
  snapshots: ['truncation', 'skipping-read', 'crash', 'partition', 'disk-full', 'message-lost', 'message-doubled', 'slow-disk'],
  'lost-appends': ['append-lost', 'append-answer-lost', 'append-late', 'append-doubled', 'slow-log', 'crash', 'stale-read'],
};
const HEALED_MS = 25_000;
/** After clients have stopped, for the replicas to become equal. */
const SETTLE_MS = 15_000;
/** In the last so much of the healed time everything must work. */
const CALM_MS = 5_000;

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return new Simulation(options).run();
}

class Simulation {
  readonly #seed: number;
  readonly #safetyMs: number;
  readonly #scheduler: Scheduler;
  readonly #faults: Faults;
  readonly #log = new SimLog();
  readonly #nodes: SimNode[] = [];
  readonly #workload: Workload;
  readonly #hashes = new Map<number, { readonly hash: string; readonly node: string }>();
  readonly #lastApplied = new Map<string, number>();
  /** Pairs of nodes, and nodes and clients, that do not hear each other. */
  readonly #cut = new Set<string>();
  readonly #hunt: Hunt;
  #failure: string | undefined;
  #answered = 0;
  #leaderships = 0;
  #clientsAreOver = false;

  constructor(options: SimulationOptions) {
    this.#seed = options.seed;
    this.#safetyMs = options.seconds * 1_000;
    this.#scheduler = new Scheduler(options.seed);
    const { chance } = this.#scheduler;
    this.#hunt = chance.pick(['nothing', 'stale-reads', 'lost-appends', 'snapshots']);
    this.#faults = new Faults(chance, options.faults ?? HUNTED_WITH[this.#hunt], this.#hunt !== 'nothing');
    this.#workload = new Workload(
      chance,
      this.#huntsStaleReads ? { keysOfAKind: 1, requestsOfAnAge: 600 } : { keysOfAKind: 1 + chance.below(3), requestsOfAnAge: 120 },
    );
  }

  get #huntsStaleReads(): boolean {
    return this.#hunt === 'stale-reads';
  }

  async run(): Promise<SimulationResult> {
    const { chance } = this.#scheduler;
    const repeats = chance.below(2) === 0 && this.#hunt !== 'lost-appends';
    const keptEntries = this.#faults.enabled.has('truncation') ? chance.below(20) : 1_000_000;
    const nodeCount = chance.below(4) === 0 ? 5 : 3;
    for (let rank = 0; rank < nodeCount; rank++) {
      const node = new SimNode(`n${rank + 1}`, rank, {
        scheduler: this.#scheduler,
        faults: this.#faults,
        logs: new Map([[SHARD, this.#log]]),
        send: (from, to, label, deliver) => this.#send(from, to, label, deliver, true),
        ran: (name, state) => this.#ran(name, state),
        timing: { tickMs: 250, reportMs: 500, lostMs: 1_500 + chance.below(3_000) },
        keptEntries,
        nodeNames: Array.from({ length: nodeCount }, (_, index) => `n${index + 1}`),
        onSnapshot: () => this.#faults.count('truncation'),
      });
      this.#nodes.push(node);
      node.format();
    }
    this.#log.onAppended(() => this.#hint());
    for (const node of this.#nodes) node.start();
    const clientCount = this.#huntsStaleReads || this.#hunt === 'lost-appends' ? 4 : 2 + chance.below(4);
    const hunts = this.#huntsStaleReads;
    const commandTimeoutMs = hunts ? 150 + chance.below(500) : 500 + chance.below(5_000);
    const queryTimeoutMs = hunts ? 20_000 : 1_000 + chance.below(15_000);
    for (let i = 0; i < clientCount; i++) {
      new SimClient(`c${i + 1}`, {
        scheduler: this.#scheduler,
        workload: this.#workload,
        nodeNames: this.#nodes.map(({ name }) => name),
        shard: SHARD,
        repeats,
        thinkMs: this.#hunt === 'stale-reads' || this.#hunt === 'lost-appends' ? 20 + chance.below(60) : 30 + chance.below(300),
        commandTimeoutMs,
        queryTimeoutMs,
        onlyReads: i % 2 === 1 && this.#hunt !== 'lost-appends',
        send: (from, to, label, deliver, mayDouble) => this.#send(from, to, label, deliver, mayDouble),
        answer: (from, label, deliver) => this.#answer(from, label, deliver),
        isOver: () => this.#clientsAreOver,
        onAnswered: () => this.#answered++,
      }).think();
    }
    this.#planFaults();
    try {
      await this.#phases();
    } catch (error) {
      this.#fail(`the code broke: ${error instanceof Error ? error.stack : error}`);
    }
    return this.#result();
  }

  async #phases(): Promise<void> {
    const failed = (): boolean => this.#failure !== undefined;
    await this.#scheduler.run(this.#safetyMs, failed);
    this.#heal();
    const endMs = this.#safetyMs + HEALED_MS;
    await this.#scheduler.run(endMs - CALM_MS, failed);
    const answeredBefore = this.#answered;
    await this.#scheduler.run(endMs, failed);
    if (!failed() && this.#answered - answeredBefore < 5) {
      this.#fail(`healed ${HEALED_MS - CALM_MS} ms ago, yet only ${this.#answered - answeredBefore} answers in ${CALM_MS} ms`);
    }
    this.#clientsAreOver = true;
    // The leader goes on renewing, so its last entry may be on its way to the others at any one moment.
    const areLevel = (): boolean => this.#nodes.every(({ drivers }) => drivers.get(SHARD)?.replica.state.applied === this.#log.lastSeq);
    await this.#scheduler.run(endMs + SETTLE_MS / 2, failed);
    await this.#scheduler.run(endMs + SETTLE_MS, () => failed() || areLevel());
    if (!failed()) this.#compareReplicas();
  }

  #result(): SimulationResult {
    let histories = 0;
    let undecided = 0;
    if (this.#failure === undefined) {
      for (const { of, parts, verdict } of this.#workload.verdicts()) {
        histories += parts;
        if (verdict.kind === 'undecided') undecided++;
        if (verdict.kind === 'violation') this.#fail(`${of}: ${showViolation(verdict)}`);
      }
    }
    this.#scheduler.mark(`${this.#answered} ${this.#log.lastSeq} ${this.#failure ?? 'good'}`);
    return {
      seed: this.#seed,
      failure: this.#failure,
      simulatedMs: this.#scheduler.nowMs,
      events: this.#scheduler.eventCount,
      traceHash: this.#scheduler.traceHash,
      requests: this.#workload.count,
      answered: this.#answered,
      histories,
      undecided,
      entries: this.#log.lastSeq,
      leaderships: this.#leaderships,
      faults: this.#faults.counts,
    };
  }

  #fail(why: string): void {
    this.#failure ??= `at ${(this.#scheduler.nowMs / 1_000).toFixed(3)} s: ${why}`;
  }

  // What always holds.

  /** A replica may have run entries: no two may have run different ones. */
  #ran(node: string, state: Readonly<ShardState>): void {
    if (state.status === 'faulted') this.#fail(`${node} met an entry ${state.applied + 1} that does not follow from its past`);
    if (this.#lastApplied.get(node) === state.applied) return;
    this.#lastApplied.set(node, state.applied);
    this.#leaderships = Math.max(this.#leaderships, state.epoch);
    const hash = toHex(state.hash);
    const known = this.#hashes.get(state.applied);
    if (!known) this.#hashes.set(state.applied, { hash, node });
    else if (known.hash !== hash) this.#fail(`after entry ${state.applied} ${node} has another past than ${known.node}`);
  }

  /** When all is quiet, all replicas have run all entries and hold the same bytes. */
  #compareReplicas(): void {
    let first: { readonly node: string; readonly dump: string } | undefined;
    for (const { name, drivers, storage } of this.#nodes) {
      const state = drivers.get(SHARD)?.replica.state;
      if (state?.applied !== this.#log.lastSeq) {
        this.#fail(`${name} is at entry ${state?.applied} of ${this.#log.lastSeq}, long after everything was healed`);
        return;
      }
      const dump = [...storage.scan({ from: Uint8Array.of(0) })].map(({ key, value }) => `${toHex(key)} ${toHex(value)}`).join('\n');
      first ??= { node: name, dump };
      if (first.dump !== dump) this.#fail(`${name} does not hold the same bytes as ${first.node}`);
    }
  }

  // The network.

  #send(from: string, to: string, label: string, deliver: (node: SimNode) => void, mayDouble: boolean): void {
    const node = this.#nodes.find(({ name }) => name === to);
    if (!node || this.#faults.strikes('message-lost', 40)) return;
    const copies = mayDouble && this.#faults.strikes('message-doubled', 40) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      this.#scheduler.after(this.#delayMs() + copy * this.#scheduler.chance.below(2_000), label, () => {
        if (!this.#isCut(from, to)) node.receive(label, () => deliver(node));
      });
    }
  }

  #answer(from: string, label: string, deliver: () => void): void {
    if (this.#faults.strikes('message-lost', 40)) return;
    this.#scheduler.after(this.#delayMs(), label, () => {
      if (!this.#isCut(from, 'c')) deliver();
    });
  }

  #isCut(a: string, b: string): boolean {
    return this.#cut.has(`${a} ${b}`) || this.#cut.has(`${b} ${a}`) || this.#cut.has(`${a[0] === 'c' ? b : a} c`);
  }

  #hint(): void {
    for (const node of this.#nodes) {
      if (this.#faults.strikes('hint-lost', 5)) continue;
      this.#scheduler.after(this.#delayMs(), 'hint', () => {
        if (!node.logIsCutOff) node.receive('grew', () => node.drivers.get(SHARD)?.logGrew());
      });
    }
  }

  #delayMs(): number {
    return 0.1 + this.#scheduler.chance.unit();
  }

  // Faults that strike by themselves.

  #planFaults(): void {
    const { chance } = this.#scheduler;
    const everyMs = this.#huntsStaleReads ? 4_000 : 1_000 + chance.below(10_000);
    const kinds = (['crash', 'pause', 'partition', 'disk-full', 'resign'] as const).filter((kind) => this.#faults.enabled.has(kind));
    if (kinds.length === 0) return;
    const next = (): void => {
      this.#scheduler.after(chance.unit() * 2 * everyMs, 'fault', () => {
        if (!this.#faults.active) return;
        this.#strike(this.#huntsStaleReads && chance.below(2) === 0 ? 'pause' : chance.pick(kinds));
        next();
      });
    };
    next();
  }

  #strike(kind: 'crash' | 'pause' | 'partition' | 'disk-full' | 'resign'): void {
    const { chance } = this.#scheduler;
    // The leader is where it hurts.
    const leading = this.#nodes.filter(({ drivers }) => drivers.get(SHARD)?.replica.leads);
    const node = leading.length > 0 && (this.#huntsStaleReads || chance.below(2) === 0) ? chance.pick(leading) : chance.pick(this.#nodes);
    if (!node.isRunning) return;
    this.#faults.count(kind);
    const forMs =
      this.#huntsStaleReads || this.#hunt === 'snapshots'
        ? 4_000 + chance.below(4_000)
        : 100 + chance.below(chance.below(2) === 0 ? 1_000 : 12_000);
    const undo = (action: () => void): void => void this.#scheduler.after(forMs, 'fault-over', action);
    switch (kind) {
      case 'crash':
        node.dieWithin(chance.below(12), () => undo(() => this.#restart(node)));
        break;
      case 'pause':
        node.pauseWithin(1 + chance.below(6), this.#huntsStaleReads ? forMs + 4_000 : forMs, chance.below(3) > 0 ? 'request' : undefined);
        break;
      case 'partition':
        this.#partition(node, undo);
        break;
      case 'disk-full':
        node.setDiskFull(true);
        undo(() => node.setDiskFull(false));
        break;
      case 'resign':
        node.receive('resign', () => node.drivers.get(SHARD)?.resign());
    }
  }

  #partition(node: SimNode, undo: (action: () => void) => void): void {
    const { chance } = this.#scheduler;
    const from = this.#huntsStaleReads ? 2 : chance.below(4);
    if (from !== 1) node.logIsCutOff = true;
    const cuts = from === 2 ? [] : [...this.#nodes.map(({ name }) => `${node.name} ${name}`), ...(from === 3 ? [] : [`${node.name} c`])];
    for (const cut of cuts) this.#cut.add(cut);
    undo(() => {
      node.logIsCutOff = false;
      for (const cut of cuts) this.#cut.delete(cut);
    });
  }

  #restart(node: SimNode): void {
    if (!node.isRunning) node.start();
  }

  #heal(): void {
    this.#faults.active = false;
    this.#cut.clear();
    for (const node of this.#nodes) {
      node.heal();
      this.#restart(node);
    }
  }
}

export { FAULT_KINDS };
