import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import type { Call } from './call.ts';

// Whoever has sent requests to a node that dies hears nothing of it: its connection is to the servers between. So what has had no answer for a while is
// looked after: is the node still there, is it still at it, and does it still lead? Else nobody will answer, and whoever waits is told so; what became of it
// is not known. That is an end of waiting and nothing more: who leads, the log says.
//
// A request or its answer goes when a server between dies, and neither side hears of it. What is sent before a ping arrives before it. So a node that has
// answered one ping has what was asked of it before, or never will; and when it says to a later one that all that it is at came later than that, it has
// answered, or never will.

export const PING = 'ping';

const LOOK_MS = 100;
/** Without an answer for so long. */
const LATE_MS = 300;
/** So long what is for a shard goes apart from what is for others, when some of it had no answer for {@link LATE_MS}, or came to nothing. */
const APART_MS = 1_000;
/** A node that nobody reaches for so long has gone; one whose own server was lost is back sooner. */
const GONE_MS = 500;
/** A leader that was replaced and lives tells those that wait as soon as it hears of it. */
const REPLACED_MS = 500;
/** A ping goes with its server as well. */
const PING_TIMEOUT_MS = 500;
const NOTHING: Bytes = new Uint8Array(0);

export interface VigilOptions {
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly leaderOf: (shard: number) => string | undefined;
}

/** Requests that went to a node in one message. */
export interface Sent {
  readonly to: string;
  readonly sinceMs: number;
  /** Those that have no answer yet. */
  readonly open: Set<Call>;
  /** The answer is here, or its beginning. */
  isAnswered: boolean;
  /** The node had heard of it by then, if it ever will. */
  arrivedMs: number | undefined;
}

export class Vigil {
  readonly #options: VigilOptions;
  readonly #sent = new Set<Sent>();
  /** Since when a node could not be reached. */
  readonly #unreachable = new Map<string, number>();
  /** Since when another has led a shard than whom its requests went to, by both. */
  readonly #replaced = new Map<string, number>();
  readonly #asking = new Set<string>();
  /** Until when a shard is one whose answers are late. */
  readonly #lateUntilMs = new Map<number, number>();
  #isLooking = false;

  constructor(options: VigilOptions) {
    this.#options = options;
  }

  begin(to: string, calls: readonly Call[]): Sent {
    const sent = { to, sinceMs: this.#options.clock.now().monoMs, open: new Set(calls), isAnswered: false, arrivedMs: undefined };
    this.#sent.add(sent);
    this.#arm();
    return sent;
  }

  end(sent: Sent): void {
    this.#sent.delete(sent);
  }

  /** A request for it came to nothing: the next ones may wait long, as for a leader that was not to be reached. */
  noteFailed(shard: number): void {
    this.#lateUntilMs.set(shard, this.#options.clock.now().monoMs + APART_MS);
  }

  /** Requests for it wait for their answers, as for the quorum of its log: those for other shards are not to wait with them. */
  isLate(shard: number): boolean {
    const untilMs = this.#lateUntilMs.get(shard);
    if (untilMs === undefined) return false;
    if (this.#options.clock.now().monoMs < untilMs) return true;
    this.#lateUntilMs.delete(shard);
    return false;
  }

  #arm(): void {
    if (this.#isLooking || this.#sent.size === 0) return;
    this.#isLooking = true;
    this.#options.clock.after(LOOK_MS, () => {
      this.#isLooking = false;
      this.#look();
      this.#arm();
    });
  }

  #look(): void {
    const { clock, leaderOf } = this.#options;
    const nowMs = clock.now().monoMs;
    const nodes = new Set<string>();
    const replaced = new Set<string>();
    for (const sent of [...this.#sent]) {
      const { to, sinceMs, open } = sent;
      if (nowMs - sinceMs < LATE_MS) continue;
      nodes.add(to);
      const goneMs = nowMs - (this.#unreachable.get(to) ?? nowMs);
      for (const call of [...open]) {
        this.#lateUntilMs.set(call.shard, nowMs + APART_MS);
        const leader = leaderOf(call.shard);
        const place = `${call.shard} ${to}`;
        const replacedMs = leader === undefined || leader === to ? 0 : nowMs - (this.#replaced.get(place) ?? nowMs);
        if (leader !== undefined && leader !== to) {
          replaced.add(place);
          if (!this.#replaced.has(place)) this.#replaced.set(place, nowMs);
        }
        if (goneMs < GONE_MS && replacedMs < REPLACED_MS) continue;
        const why = goneMs >= GONE_MS ? 'cannot be reached any more' : `was replaced as the leader of shard ${call.shard} by ${leader}`;
        giveUp(sent, call, `${why}, and had not answered`);
      }
    }
    for (const place of this.#replaced.keys()) if (!replaced.has(place)) this.#replaced.delete(place);
    for (const node of this.#unreachable.keys()) if (!nodes.has(node)) this.#unreachable.delete(node);
    for (const node of nodes) this.#ask(node);
  }

  #ask(node: string): void {
    if (this.#asking.has(node)) return;
    this.#asking.add(node);
    const { clock, transport } = this.#options;
    const askedMs = clock.now().monoMs;
    transport
      .request(node, PING, NOTHING, { timeoutMs: PING_TIMEOUT_MS })
      .then(
        (answer) => {
          this.#unreachable.delete(node);
          this.#heard(node, askedMs, oldestOf(answer));
        },
        (error: unknown) => {
          if (!isKeyfleetError(error)) throw error;
          // Whatever else it says, or does not say: it may be there.
          if (error.code !== 'KF_NODE_UNREACHABLE') this.#unreachable.delete(node);
          else if (!this.#unreachable.has(node)) this.#unreachable.set(node, clock.now().monoMs);
        },
      )
      .finally(() => this.#asking.delete(node));
  }

  /** The node is at what came to it `oldestMs` before it answered, and at nothing older. Undefined: it does not say. */
  #heard(node: string, askedMs: number, oldestMs: number | undefined): void {
    if (oldestMs === undefined) return;
    const nowMs = this.#options.clock.now().monoMs;
    for (const sent of [...this.#sent]) {
      if (sent.to !== node || sent.isAnswered || sent.sinceMs >= askedMs) continue;
      if (sent.arrivedMs === undefined) sent.arrivedMs = nowMs;
      else if (askedMs - oldestMs > sent.arrivedMs)
        for (const call of [...sent.open])
          giveUp(sent, call, 'is not at what was asked of it any more: the request was lost, or its answer');
    }
  }
}

function giveUp({ to, open }: Sent, call: Call, why: string): void {
  open.delete(call);
  call.failed(0, new KeyfleetError('KF_NODE_SILENT', `node ${to} ${why}`));
}

/** The requests of other nodes that this one is at. */
export class WorkForOthers {
  readonly #clock: NodeClock;
  /** By who asked: since when, the oldest first. */
  readonly #work = new Map<string, Set<{ readonly sinceMs: number }>>();

  constructor(clock: NodeClock) {
    this.#clock = clock;
  }

  async count<T>(from: string, work: Promise<T>): Promise<T> {
    let all = this.#work.get(from);
    if (!all) this.#work.set(from, (all = new Set()));
    const one = { sinceMs: this.#clock.now().monoMs };
    all.add(one);
    try {
      return await work;
    } finally {
      all.delete(one);
      if (all.size === 0) this.#work.delete(from);
    }
  }

  /** What a ping is answered: `[ms since the oldest request came, rounded up, u32]`, 0 when there is none. Earlier releases answer nothing. */
  pong(from: string): Bytes {
    const [oldest] = this.#work.get(from) ?? [];
    const ageMs = oldest ? Math.ceil(this.#clock.now().monoMs - oldest.sinceMs) + 1 : 0;
    return new ByteWriter(4).u32(ageMs).finish();
  }
}

/** The age of the oldest request; below any when there is none. */
function oldestOf(pong: Bytes): number | undefined {
  if (pong.length === 0) return undefined;
  const ageMs = new ByteReader(pong).u32();
  return ageMs === 0 ? Number.NEGATIVE_INFINITY : ageMs;
}
