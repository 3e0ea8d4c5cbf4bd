import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { ShardLogs } from '../../log/shard-logs.ts';
import { basisOfLostLog, type LostLogVerdict, type StoppedReplica } from '../../shard/meta/lost-log.ts';
import { META_SHARD_ID } from '../../shard/meta/meta-records.ts';
import type { LostLog } from '../../shard/meta/shard-map.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import { requestWhole } from './large-answers.ts';
import type { MetaReplica } from './meta-replica.ts';
import { decodeJson, encodeJson } from './reports.ts';

// The log of the meta shard, when it is lost. There is no meta shard to decide it, so the servers do: of several streams of one name only one is ever
// made, and what it begins behind stands in it. Any node may make the next generation, by the same rule as for other shards: once all members have said
// for good where they have stopped. Who finds a later generation than its own goes on with that one. Docs: docs/protocol/log-generations.md.

export const META_LOG = 'meta-log';

interface Question {
  readonly generation: number;
  /** Whoever answers stops for good: its answer may be what the next log begins behind. */
  readonly isFinal: boolean;
  /** Whoever asks has proof that the log has forgotten entries: it is there, for whoever has not run them, and lost all the same. */
  readonly hasForgotten?: true;
}

interface Answer {
  readonly stopped: StoppedReplica;
  /** The nodes that had not left, as far as this one's copy says. */
  readonly members: readonly string[];
}

/** Undefined: it has not found the log lost; no entry: it does not answer. */
type Answers = ReadonlyMap<string, Answer | undefined>;

const LOOK_MS = 500;
const ASK_MS = 1_500;
const TELL_MS = 10_000;

export interface MetaLogRecoveryOptions {
  readonly self: string;
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly logs: ShardLogs;
  readonly meta: MetaReplica;
  /** As {@link MetaLogRecovery.acceptLoss}, as soon as it is lost. */
  readonly acceptsLoss: boolean;
  readonly onError: (error: Error) => void;
}

export class MetaLogRecovery {
  readonly #options: MetaLogRecoveryOptions;
  #lost: LostLog | undefined;
  #verdict: LostLogVerdict = { kind: 'waits', nodes: [] };
  #toldMs = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  #cancel: () => void = () => {};
  #isStopped = false;

  constructor(options: MetaLogRecoveryOptions) {
    this.#options = options;
  }

  /** That the log is lost, and how it can go on; undefined: it is there, as far as this node knows. */
  get lost(): (LostLog & { readonly verdict: LostLogVerdict }) | undefined {
    return this.#lost && { ...this.#lost, verdict: this.#verdict };
  }

  /** This node's replica has found its log lost. */
  found(): void {
    this.#lost ??= { sinceMs: this.#options.clock.now().wallMs };
    if (this.#options.acceptsLoss) this.#lost = { ...this.#lost, acceptsLoss: true };
    this.#look();
  }

  /** What only members have that cannot be reached is given up. @throws KF_LOG_NOT_LOST. */
  acceptLoss(): void {
    if (!this.#lost) throw new KeyfleetError('KF_LOG_NOT_LOST', 'the log of the meta shard is not lost, as far as this node knows');
    this.#lost = { ...this.#lost, acceptsLoss: true };
    this.#look();
  }

  /** Another node asks, which has found the log lost. */
  async heard(payload: Bytes): Promise<Bytes> {
    return encodeJson((await this.#answer(decodeJson<Question>(payload))) ?? null);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  async #answer({ generation, isFinal, hasForgotten }: Question): Promise<Answer | undefined> {
    const { shard, view } = this.#options.meta;
    if (shard.generation > generation) return undefined;
    // Nobody stops at another's word without proof: its own log may be there.
    if (!shard.lostReport && (!hasForgotten || shard.generation !== generation)) return undefined;
    const stopped = isFinal ? await this.#options.meta.stopForGood() : shard.position();
    return { stopped, members: view.cluster.nodes.filter(({ status }) => status !== 'left').map(({ id }) => id) };
  }

  #look(): void {
    if (this.#isLooking || this.#isStopped) return;
    this.#isLooking = true;
    this.#cancel();
    this.#advance()
      .catch((error: unknown) => {
        if (!isKeyfleetError(error)) throw error;
        this.#options.onError(error);
      })
      .finally(() => {
        this.#isLooking = false;
        if (this.#lost && !this.#isStopped) this.#cancel = this.#options.clock.after(LOOK_MS, () => this.#look());
      });
  }

  async #advance(): Promise<void> {
    const { logs, meta } = this.#options;
    const { generation } = meta.shard;
    const { hasForgotten } = meta.shard.position();
    const question = { generation, ...(hasForgotten ? { hasForgotten } : {}) };
    const newest = Math.max(0, ...(await logs.generations(META_SHARD_ID)));
    if (newest > generation || !meta.shard.lostReport) {
      this.#lost = undefined;
      if (newest > generation) meta.goOnWith(newest);
      return;
    }
    // First whether it would be enough, so that nobody stops for good in vain.
    if (this.#judge(await this.#ask({ ...question, isFinal: false })).kind !== 'basis') {
      this.#tell();
      return;
    }
    const verdict = this.#judge(await this.#ask({ ...question, isFinal: true }));
    if (verdict.kind !== 'basis' || this.#isStopped) return;
    // Should it be there after all: nothing is appended to it any more.
    await logs.delete(META_SHARD_ID, generation);
    await logs.make({ shard: META_SHARD_ID, generation: generation + 1, basis: verdict.basis, isFirstFinal: true });
    this.#lost = undefined;
    meta.goOnWith(generation + 1);
  }

  #tell(): void {
    const { clock, onError } = this.#options;
    const { monoMs } = clock.now();
    const verdict = this.#verdict;
    if (monoMs - this.#toldMs < TELL_MS) return;
    this.#toldMs = monoMs;
    const how =
      verdict.kind === 'nothing'
        ? 'no node has a sound copy of it'
        : `it goes on when ${verdict.kind === 'waits' ? verdict.nodes.join(', ') : 'others'} can say what was written last`;
    onError(new KeyfleetError('KF_LOG_LOST', `the log of the meta shard is lost; ${how}`));
  }

  #judge(answers: Answers): LostLogVerdict {
    const stopped = new Map([...answers].flatMap(([node, answer]) => (answer ? [[node, answer.stopped]] : [])));
    const replicas = membersOf(answers);
    // Whoever is no member, or has nothing at all, decides nothing.
    if (!replicas.includes(this.#options.self)) return (this.#verdict = { kind: 'waits', nodes: replicas });
    this.#verdict = basisOfLostLog(
      { replicas, ...(this.#lost ? { lost: this.#lost } : {}) },
      {
        stopped: (node) => stopped.get(node),
        nodes: [...stopped.keys()].sort(),
        isLive: (node) => answers.has(node),
        hasLeft: () => false,
      },
    );
    return this.#verdict;
  }

  /** Asks all members, those too that only others know of. */
  async #ask(question: Question): Promise<Answers> {
    const { self, transport } = this.#options;
    const own = await this.#answer(question);
    const answers = new Map<string, Answer | undefined>(own ? [[self, own]] : []);
    const asked = new Set([self]);
    for (;;) {
      const more = membersOf(answers).filter((node) => !asked.has(node));
      if (more.length === 0) return answers;
      await Promise.all(
        more.map(async (node) => {
          asked.add(node);
          try {
            const answer = decodeJson<Answer | null>(await requestWhole(transport, node, META_LOG, encodeJson(question), ASK_MS));
            answers.set(node, answer ?? undefined);
          } catch (error) {
            // It is away; it is asked again.
            if (!isKeyfleetError(error)) throw error;
          }
        }),
      );
    }
  }
}

/** As whoever has come furthest knows them. */
function membersOf(answers: Answers): readonly string[] {
  let furthest: Answer | undefined;
  for (const answer of answers.values()) {
    if (!answer) continue;
    const [at, best] = [answer.stopped.at, furthest?.stopped.at];
    const isFurther = at && (!best || at.generation > best.generation || (at.generation === best.generation && at.seq > best.seq));
    if (!furthest || isFurther) furthest = answer;
  }
  return furthest?.members ?? [];
}
