import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError } from '../../base/errors.ts';
import { NotLeaderError } from '../../shard/replica/not-leader-error.ts';
import type { NodeClock } from '../node-clock.ts';
import { bodyCodecOf, placeOf, replyCodecOf } from './call.ts';
import { decodeCalls, encodeOutcomes, type WireCall, type WireOutcome } from './call-wire.ts';
import type { ShardKeyspace } from './hosted-shard.ts';
import type { CallRouter } from './router.ts';

/** Answers the calls of other nodes from the shards that this one leads. */
export class CallServer {
  readonly #clock: NodeClock;
  readonly #router: CallRouter;
  readonly #keyspaceOf: (id: number) => ShardKeyspace | undefined;

  constructor(clock: NodeClock, router: CallRouter, keyspaceOf: (id: number) => ShardKeyspace | undefined) {
    this.#clock = clock;
    this.#router = router;
    this.#keyspaceOf = keyspaceOf;
  }

  /** Fulfilled when all have been answered. @throws KF_NODE_INCOMPATIBLE */
  serve(payload: Bytes): Promise<Bytes> {
    const calls = decodeCalls(payload);
    const outcomes: WireOutcome[] = new Array(calls.length);
    let missing = calls.length;
    return new Promise((resolve) => {
      if (missing === 0) resolve(encodeOutcomes(outcomes));
      calls.forEach((call, index) => {
        this.#run(call, (outcome) => {
          outcomes[index] = outcome;
          if (--missing === 0) resolve(encodeOutcomes(outcomes));
        });
      });
    });
  }

  #run(call: WireCall, tell: (outcome: WireOutcome) => void): void {
    const keyspace = this.#keyspaceOf(call.keyspaceId);
    if (!keyspace) {
      tell({ kind: 'failed', error: new NotLeaderError(-1, undefined, `keyspace ${call.keyspaceId} is not known here`), leader: '' });
      return;
    }
    const { module, scheme } = keyspace;
    const body = bodyCodecOf(module, call.kind).decode(call.body);
    const replyCodec = replyCodecOf(module, call.kind);
    const position = placeOf(call.kind, body) ?? scheme?.position(call.key) ?? 0;
    let shard = -1;
    const fail = (error: Error): void => {
      const leader = isKeyfleetError(error) && error.code === 'KF_NOT_LEADER' ? this.#router.leaderOf(shard) : undefined;
      tell({ kind: 'failed', error, leader: leader ?? '' });
    };
    const { kind, key, request, read, ack, minSeq } = call;
    const options = {
      kind,
      keyspace,
      key,
      position,
      body,
      request,
      read,
      ack,
      minSeq,
      sink: {
        settled: (_: number, reply: unknown) => tell({ kind: 'done', reply: replyCodec.encode(reply) }),
        failed: (_: number, error: Error) => fail(error),
      },
      token: 0,
      deadlineMs: this.#clock.now().monoMs + call.deadlineMs,
    };
    shard = this.#router.shardAt(keyspace, position) ?? -1;
    this.#router.runHere(options, (_, error) => fail(error));
  }
}
