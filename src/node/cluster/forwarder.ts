import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import { type Call, replyCodecOf } from './call.ts';
import { decodeOutcomes, encodeCalls, type WireCall } from './call-wire.ts';
import { requestWhole } from './large-answers.ts';
import { type Sent, Vigil } from './vigil.ts';

// Sends calls to other nodes: all that go to one node in a turn of the event loop share a message. Commands and queries go apart, so that no query
// waits for the disk of a command; and so do those for a shard that is late with its answers, since a message is answered when all in it are.

export const CALLS = 'calls';

/** What a call needs in a message beside its key and body. */
const CALL_OVERHEAD_BYTES = 320;
/** A message with calls has as many as fit into this. */
const MESSAGE_BYTES = 256 * 1024;
/** A leader tells every request that it has within 5 s. */
const COMMAND_PATIENCE_MS = 5_500;
/** The other node is given less time than there is, so that what it has to say at the end of it still counts: that nothing was done, and why. */
const SLACK_MS = 500;
/** What may be done twice is soon asked elsewhere. */
const REPEATABLE_PATIENCE_MS = 2_500;

interface Queue {
  readonly to: string;
  calls: Call[];
  bytes: number;
}

export interface ForwarderOptions {
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly leaderOf: (shard: number) => string | undefined;
  /** Another node has said who leads a shard. */
  readonly onLeader: (shard: number, leader: string) => void;
}

export class Forwarder {
  readonly #clock: NodeClock;
  readonly #transport: Transport;
  readonly #onLeader: (shard: number, leader: string) => void;
  readonly #queues = new Map<string, Queue>();
  readonly #vigil: Vigil;
  #flushIsDue = false;

  constructor({ clock, transport, leaderOf, onLeader }: ForwarderOptions) {
    this.#clock = clock;
    this.#transport = transport;
    this.#onLeader = onLeader;
    this.#vigil = new Vigil({ clock, transport, leaderOf });
  }

  send(to: string, call: Call): void {
    const bytes = call.key.length + call.encoded.length + CALL_OVERHEAD_BYTES;
    const room = this.#transport.maxPayloadBytes;
    if (bytes > room) {
      call.giveUp(new KeyfleetError('KF_VALUE_TOO_LARGE', `a request of ${bytes} bytes; a message between nodes has room for ${room}`));
      return;
    }
    const kind = call.isQuery ? 'queries' : call.isRepeatable ? 'repeatable' : 'commands';
    const name = this.#vigil.isLate(call.shard) ? `${to} ${kind} ${call.shard}` : `${to} ${kind}`;
    let queue = this.#queues.get(name);
    if (!queue) {
      queue = { to, calls: [], bytes: 0 };
      this.#queues.set(name, queue);
    }
    if (queue.calls.length > 0 && queue.bytes + bytes > Math.min(MESSAGE_BYTES, room)) this.#flush(queue);
    queue.calls.push(call);
    queue.bytes += bytes;
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    this.#clock.atTurnEnd(() => {
      this.#flushIsDue = false;
      const queues = [...this.#queues.values()];
      this.#queues.clear();
      for (const one of queues) this.#flush(one);
    });
  }

  #flush(queue: Queue): void {
    const { to, calls } = queue;
    queue.calls = [];
    queue.bytes = 0;
    for (const together of byPatience(calls, this.#clock.now().monoMs)) this.#sendTo(to, together);
  }

  #sendTo(to: string, calls: readonly Call[]): void {
    const sent = this.#vigil.begin(to, calls);
    this.#carry(sent, calls)
      .catch((error: unknown) => {
        if (!isKeyfleetError(error)) throw error;
        for (const call of [...sent.open]) this.#failed(call, error);
      })
      .finally(() => this.#vigil.end(sent));
  }

  /** Of the calls, those that are open have not been told anything else meanwhile. */
  async #carry(sent: Sent, calls: readonly Call[]): Promise<void> {
    const { to, open } = sent;
    const nowMs = this.#clock.now().monoMs;
    const patienceMs = calls[0]!.isRepeatable ? REPEATABLE_PATIENCE_MS : COMMAND_PATIENCE_MS;
    let longestMs = 1;
    const wire = calls.map((call): WireCall => {
      const { kind, keyspace, key, encoded: body, request, read, ack, minSeq } = call;
      const waitsMs = Math.min(patienceMs, Math.max(1, call.deadlineMs - nowMs));
      longestMs = Math.max(longestMs, waitsMs);
      const deadlineMs = waitsMs - Math.min(SLACK_MS, waitsMs / 4);
      return { kind, keyspaceId: keyspace.id, deadlineMs, key, body, ...(request ? { request } : {}), read, ack, minSeq };
    });
    const answer = await requestWhole(this.#transport, to, CALLS, encodeCalls(wire), longestMs, () => {
      sent.isAnswered = true;
    });
    const outcomes = decodeOutcomes(answer);
    calls.forEach((call, index) => {
      const outcome = outcomes[index];
      if (!open.delete(call)) return;
      if (!outcome) {
        this.#failed(call, new KeyfleetError('KF_NODE_SILENT', `node ${to} answered ${outcomes.length} of ${calls.length} requests`));
      } else if (outcome.kind === 'done') {
        call.settled(0, replyCodecOf(call.keyspace.module, call.kind).decode(outcome.reply));
      } else {
        if (outcome.leader !== '') this.#onLeader(call.shard, outcome.leader);
        this.#failed(call, outcome.error);
      }
    });
  }

  #failed(call: Call, error: Error): void {
    if (isKeyfleetError(error) && error.retryable) this.#vigil.noteFailed(call.shard);
    call.failed(0, error);
  }
}

/** A message is answered when all of its calls are: whoever has little time is not to wait for those who have much. */
function byPatience(calls: readonly Call[], nowMs: number): Iterable<readonly Call[]> {
  const first = magnitudeOf(calls[0]!, nowMs);
  if (calls.every((call) => magnitudeOf(call, nowMs) === first)) return [calls];
  const groups = new Map<number, Call[]>();
  for (const call of calls) {
    const magnitude = magnitudeOf(call, nowMs);
    const group = groups.get(magnitude);
    if (group) group.push(call);
    else groups.set(magnitude, [call]);
  }
  return groups.values();
}

/** Of what it waits, beyond which all are alike. */
function magnitudeOf({ deadlineMs }: Call, nowMs: number): number {
  const waitsMs = Math.min(Math.max(1, deadlineMs - nowMs), COMMAND_PATIENCE_MS);
  return 32 - Math.clz32(waitsMs);
}
