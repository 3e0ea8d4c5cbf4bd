import type { LogBasis, MappedShard } from './shard-map.ts';

// Behind which entry the next generation of a lost log begins. What was acknowledged is in the storage of who led then, and in no other for certain;
// so it takes the word of all replicas, or of one that led by a lease when it found its log gone, unless that had forgotten entries before: nobody else can have acknowledged anything that this
// one does not have. Else it takes somebody's word that the rest is given up. Docs: docs/protocol/log-generations.md.

/** Where a replica has stopped for good, as far as the lost log goes: all of it is in its storage. */
export interface StoppedReplica {
  readonly shard: number;
  /** The generation that is lost. */
  readonly generation: number;
  /** Of the log that the replica's last entry stands in, and that entry; undefined: it has no sound copy. */
  readonly at?: LogBasis & { readonly generation: number };
  /** It led, and its lease ran, when it found the log gone. */
  readonly ledByLease: boolean;
  /** It has proof that the log had forgotten entries that it had run, as after a restore from an old copy: whoever led behind that may have less. */
  readonly hasForgotten?: true;
}

export type LostLogVerdict =
  | { readonly kind: 'basis'; readonly basis: LogBasis }
  /** These are to say first where they have stopped. */
  | { readonly kind: 'waits'; readonly nodes: readonly string[] }
  /** All have spoken, and none has a sound copy. */
  | { readonly kind: 'nothing' };

export interface LostLogSight {
  /** What a node has said; undefined: nothing, of this generation. */
  stopped(node: string): StoppedReplica | undefined;
  /** All who have said something: also nodes that are not, or not yet, among the replicas. */
  readonly nodes: readonly string[];
  /** It is up or draining. */
  isLive(node: string): boolean;
  /** It has been taken out of the cluster for good. */
  hasLeft(node: string): boolean;
}

/** The same of the same answers, in whatever order they came. */
export function basisOfLostLog({ replicas = [], lost }: Pick<MappedShard, 'replicas' | 'lost'>, sight: LostLogSight): LostLogVerdict {
  const answers = [...new Set([...replicas, ...sight.nodes])].flatMap((node) => sight.stopped(node) ?? []);
  const silent = replicas.filter((node) => !sight.hasLeft(node) && !sight.stopped(node));
  // Behind a log that had forgotten entries a leader does not know of those.
  const hasForgotten = answers.some((one) => one.hasForgotten);
  const knowsAll = lost?.acceptsLoss === true || (!hasForgotten && answers.some(({ ledByLease }) => ledByLease));
  // Who lives is waited for in any case: it may have run more than others, and would have to be brought its data else.
  const awaited = knowsAll ? silent.filter((node) => sight.isLive(node)) : silent;
  if (awaited.length > 0) return { kind: 'waits', nodes: awaited };
  let best: StoppedReplica['at'];
  for (const { at } of answers) if (at && (!best || isFurther(at, best))) best = at;
  return best ? { kind: 'basis', basis: { seq: best.seq, hash: best.hash } } : { kind: 'nothing' };
}

/** Hashes only decide between two that should be equal, so that the order of the answers does not. */
function isFurther(one: NonNullable<StoppedReplica['at']>, other: NonNullable<StoppedReplica['at']>): boolean {
  if (one.generation !== other.generation) return one.generation > other.generation;
  return one.seq > other.seq || (one.seq === other.seq && one.hash > other.hash);
}
