import { hashHex } from '../../partition/hash/all-hashers.ts';
import type { Hasher, KeyInput } from '../../partition/hasher.ts';
import { Keyspace } from '../../partition/keyspace.ts';
import type { Partitioner } from '../../partition/partitioner.ts';
import { keyspaceCratePlacement } from '../../partition/placement/crate-placement.ts';
import { RangePartitioner, showKey } from '../../partition/range-partitioner.ts';
import { algorithmNamed } from './algorithms.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import { LoadedNodes } from './loaded-nodes.ts';
import { NumberedNodes } from './numbered-nodes.ts';

/** Most nodes named in one line. */
const MOST_NAMED = 10;

/** Why a key is where it is, in words, a step a line. */
export function whyHere(partitioner: Partitioner<FleetNode>, key: KeyInput, fleet: Fleet): readonly string[] {
  if (partitioner instanceof Keyspace) {
    const { steps } = partitioner.explain(key);
    // What follows are the scores of our own placements.
    return partitioner.placement === keyspaceCratePlacement ? steps.slice(0, 3) : steps;
  }
  if (partitioner instanceof RangePartitioner) return [rangeStep(partitioner, key)];
  const steps = [algorithmNamed(fleet.algorithm).summary];
  const hasher = hasherOf(partitioner);
  if (hasher) steps.push(`${hasher.name} of the key is ${hashHex(hasher.name, key)}`);
  if (partitioner instanceof NumberedNodes) {
    const number = partitioner.buckets.owner(key);
    return [...steps, `that is number ${number} of 0 … ${fleet.nodes.length - 1}, in the order in which the nodes are given`];
  }
  if (partitioner instanceof LoadedNodes) {
    const wish = named(partitioner.wishes(key));
    return [...steps, `the nodes by score: ${wish}; the first with room has it, and each key before took some`];
  }
  const order = partitioner.replicas(key, Math.min(fleet.nodes.length, MOST_NAMED + 1));
  return [...steps, `the nodes in the order in which this key asks for them: ${named(order)}`];
}

function hasherOf(partitioner: object): Hasher | undefined {
  return 'hasher' in partitioner ? (partitioner.hasher as Hasher) : undefined;
}

function named(nodes: readonly FleetNode[]): string {
  const ids = nodes.slice(0, MOST_NAMED).map(({ id }) => id);
  return nodes.length > MOST_NAMED ? `${ids.join(', ')}, …` : ids.join(', ');
}

function rangeStep(partitioner: RangePartitioner<FleetNode>, key: KeyInput): string {
  const { from, to, node } = partitioner.rangeOf(key);
  const start = from === undefined ? (to === undefined ? 'all keys' : 'keys') : `keys from ${showKey(from)}`;
  return `${start} ${to === undefined ? 'on' : `up to, but not, ${showKey(to)}`} belong to ${node.id}`;
}
