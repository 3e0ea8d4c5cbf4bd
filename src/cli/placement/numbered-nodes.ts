import type { KeyInput } from '../../partition/hasher.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import { usage } from '../terminal/usage.ts';
import type { FleetNode } from './fleet.ts';

interface Buckets {
  owner(key: KeyInput): number;
  replicas(key: KeyInput, count: number, out?: number[]): number[];
}

/** Named nodes over an algorithm that knows numbers only: the order in which they are given numbers them. */
export class NumberedNodes implements Partitioner<FleetNode> {
  readonly buckets: Buckets;
  /** By number; a number out of use has none. */
  readonly byNumber: readonly (FleetNode | undefined)[];
  readonly #numbers: number[] = [];

  /** @throws KF_USAGE when a weight is not 1: numbered shards have none. */
  constructor(algorithm: string, byNumber: readonly (FleetNode | undefined)[], buckets: Buckets) {
    const heavy = byNumber.find((node) => node !== undefined && node.weight !== 1);
    if (heavy) throw usage(`--algorithm: ${algorithm} knows no weights, and node ${heavy.id} has the weight ${heavy.weight}`);
    this.buckets = buckets;
    this.byNumber = byNumber;
  }

  get nodes(): readonly FleetNode[] {
    return this.byNumber.filter((node) => node !== undefined);
  }

  owner(key: KeyInput): FleetNode {
    return this.byNumber[this.buckets.owner(key)]!;
  }

  replicas(key: KeyInput, count: number, out: FleetNode[] = []): FleetNode[] {
    const numbers = this.buckets.replicas(key, count, this.#numbers);
    for (let i = 0; i < numbers.length; i++) out[i] = this.byNumber[numbers[i]!]!;
    out.length = numbers.length;
    return out;
  }
}

/** Numbered shards of which any may go. */
export interface AnchorBuckets extends Buckets {
  has(bucket: number): boolean;
  add(): { readonly bucket: number };
  remove(bucket: number): unknown;
}

/**
 * The nodes after a change of numbered nodes whose numbers stay: those that left give up theirs, those that join take free ones.
 * `anchor` is as that of `before`, and is changed.
 */
export function renumbered(name: string, before: NumberedNodes, after: readonly FleetNode[], anchor: AnchorBuckets): NumberedNodes {
  const byNumber: (FleetNode | undefined)[] = [...before.byNumber];
  const stay = new Map(after.map((node) => [node.id, node]));
  for (const [number, node] of byNumber.entries()) {
    if (node === undefined) continue;
    byNumber[number] = stay.get(node.id);
    stay.delete(node.id);
  }
  // Those that join come first: the last node cannot leave before them.
  for (const node of stay.values()) byNumber[anchor.add().bucket] = node;
  for (const [number, node] of byNumber.entries()) if (node === undefined && anchor.has(number)) anchor.remove(number);
  return new NumberedNodes(name, byNumber, anchor);
}
