import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { NotLeaderError } from '../../shard/replica/not-leader-error.ts';
import type { NodeClock } from '../node-clock.ts';
import { bodyCodecOf, placeOf, replyCodecOf } from './call.ts';
import { decodeCalls, encodeOutcomes, type WireCall, type WireOutcome } from './call-wire.ts';
import type { ClusterMap } from './cluster-map.ts';
import type { ShardKeyspace } from './hosted-shard.ts';
import { META_KEYSPACE } from './meta-replica.ts';
import type { CallRouter } from './router.ts';
import type { ServedKeyspaces } from './served-keyspaces.ts';

/** Answers the calls of other nodes from the shards that this one leads. */
export class CallServer {
  readonly #clock: NodeClock;
  readonly #router: CallRouter;
  readonly #served: ServedKeyspaces;
  readonly #map: ClusterMap;

  constructor(clock: NodeClock, router: CallRouter, served: ServedKeyspaces, map: ClusterMap) {
    this.#clock = clock;
    this.#router = router;
    this.#served = served;
    this.#map = map;
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
    if (keyspace instanceof Error) {
      tell({ kind: 'failed', error: keyspace, leader: '' });
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

  #keyspaceOf(id: number): ShardKeyspace | KeyfleetError {
    if (id === META_KEYSPACE.id) return META_KEYSPACE;
    const record = this.#map.keyspaceOfId(id);
    if (!record) return new NotLeaderError(-1, undefined, `keyspace ${id} is not known here`);
    const missing = `the node was not given value module ${record.module}, which keyspace ${record.name} has (serve --module)`;
    return this.#served.of(record) ?? new KeyfleetError('KF_MODULE_MISSING', missing);
  }
}
