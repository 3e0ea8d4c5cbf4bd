import { utf8 } from '../../base/bytes.ts';
import { type MetaCommand, type MetaReply, metaKeyOf } from '../../shard/meta-module.ts';
import type { NodeClock } from '../node-clock.ts';
import type { ShardKeyspace } from './hosted-shard.ts';
import type { CallRouter } from './router.ts';

/** Has commands run by the meta shard, whoever leads it: each once, however often it must be sent. */
export class MetaClient {
  readonly #clock: NodeClock;
  readonly #router: CallRouter;
  readonly #keyspace: ShardKeyspace;
  readonly #clientId: Uint8Array;
  readonly #timeoutMs: number;
  readonly #underWay = new Set<number>();
  #lastSeq = 0;

  constructor(options: {
    readonly self: string;
    readonly clock: NodeClock;
    readonly router: CallRouter;
    readonly keyspace: ShardKeyspace;
    readonly timeoutMs: number;
  }) {
    const { self, clock, router, keyspace, timeoutMs } = options;
    this.#clock = clock;
    this.#router = router;
    this.#keyspace = keyspace;
    this.#timeoutMs = timeoutMs;
    // Other than those of this node's earlier processes.
    this.#clientId = utf8(`node ${self} ${Math.floor(clock.now().wallMs)}`);
  }

  /** @throws what the meta shard throws; KF_UNAVAILABLE and nothing was done; KF_OUTCOME_UNKNOWN. */
  run<Reply extends MetaReply>(command: MetaCommand, timeoutMs = this.#timeoutMs): Promise<Reply> {
    const requestSeq = ++this.#lastSeq;
    this.#underWay.add(requestSeq);
    const request = { clientId: this.#clientId, requestSeq, ackedBelow: Math.min(...this.#underWay) };
    const answer = new Promise<Reply>((resolve, reject) => {
      this.#router.send({
        kind: 'command-many',
        keyspace: this.#keyspace,
        key: metaKeyOf(command),
        position: 0,
        body: command,
        request,
        sink: { settled: (_: number, reply: Reply) => resolve(reply), failed: (_: number, error: Error) => reject(error) },
        token: 0,
        deadlineMs: this.#clock.now().monoMs + timeoutMs,
      });
    });
    return answer.finally(() => this.#underWay.delete(requestSeq));
  }
}
