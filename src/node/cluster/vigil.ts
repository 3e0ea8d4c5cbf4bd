import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import type { Call } from './call.ts';

// Whoever has sent requests to a node that dies hears nothing of it: its connection is to the servers between. So what has had no answer for a while is
// looked after: is the node still there, and does it still lead? Else nobody will answer, and whoever waits is told so; what became of it is not known.
// That is an end of waiting and nothing more: who leads, the log says.

export const PING = 'ping';

const LOOK_MS = 100;
/** Without an answer for so long. */
const LATE_MS = 300;
/** A node that nobody reaches for so long has gone; one whose own server was lost is back sooner. */
const GONE_MS = 500;
/** A leader that was replaced and lives tells those that wait as soon as it hears of it. */
const REPLACED_MS = 500;
const PING_TIMEOUT_MS = 1_000;
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
}

export class Vigil {
  readonly #options: VigilOptions;
  readonly #sent = new Set<Sent>();
  /** Since when a node could not be reached. */
  readonly #unreachable = new Map<string, number>();
  /** Since when another has led a shard than whom its requests went to, by both. */
  readonly #replaced = new Map<string, number>();
  readonly #asking = new Set<string>();
  #isLooking = false;

  constructor(options: VigilOptions) {
    this.#options = options;
  }

  begin(to: string, calls: readonly Call[]): Sent {
    const sent = { to, sinceMs: this.#options.clock.now().monoMs, open: new Set(calls) };
    this.#sent.add(sent);
    this.#arm();
    return sent;
  }

  end(sent: Sent): void {
    this.#sent.delete(sent);
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
        const leader = leaderOf(call.shard);
        const place = `${call.shard} ${to}`;
        const replacedMs = leader === undefined || leader === to ? 0 : nowMs - (this.#replaced.get(place) ?? nowMs);
        if (leader !== undefined && leader !== to) {
          replaced.add(place);
          if (!this.#replaced.has(place)) this.#replaced.set(place, nowMs);
        }
        if (goneMs < GONE_MS && replacedMs < REPLACED_MS) continue;
        open.delete(call);
        const why = goneMs >= GONE_MS ? 'cannot be reached any more' : `was replaced as the leader of shard ${call.shard} by ${leader}`;
        call.failed(0, new KeyfleetError('KF_NODE_SILENT', `node ${to} ${why}, and had not answered`));
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
    transport
      .request(node, PING, NOTHING, { timeoutMs: PING_TIMEOUT_MS })
      .then(
        () => this.#unreachable.delete(node),
        (error: unknown) => {
          if (!isKeyfleetError(error)) throw error;
          // Whatever else it says, or does not say: it may be there.
          if (error.code !== 'KF_NODE_UNREACHABLE') this.#unreachable.delete(node);
          else if (!this.#unreachable.has(node)) this.#unreachable.set(node, clock.now().monoMs);
        },
      )
      .finally(() => this.#asking.delete(node));
  }
}
