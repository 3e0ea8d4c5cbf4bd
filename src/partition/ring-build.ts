import { type Bytes, compareBytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { Hasher } from './hasher.ts';
import { headOf, RingTable } from './ring-table.ts';

/** A node's points: their digests one after the other in ascending order, and which of its points each is. */
interface PointSource {
  readonly name: string;
  readonly points: number;
}

/** Names the point that `number` of a node is placed by. */
export type VirtualNodeName = (nodeId: string, number: number) => Bytes;

/** The name of the Rust crate lfchring: the id's UTF-8 bytes, then the number as two bytes, the lower first. */
export function lfchringName(nodeId: string, number: number): Bytes {
  const id = utf8(nodeId);
  const name = new Uint8Array(id.length + 2);
  name.set(id);
  name[id.length] = number & 0xff;
  name[id.length + 1] = number >>> 8;
  return name;
}

/**
 * The name for `murmur3_x86_128`: the number four times as four bytes, the lower first; the id; zeros up to four bytes past a multiple of
 * 16; the id again.
 *
 * That hash has four lanes of 32 bits that meet only at the end, and puts every fourth word of the input into the same one. With lfchring's
 * names, ids like `node-225.example:6379` differ from each other and by their numbers in one lane alone, so 128 bits count as 32: of 1,000
 * such nodes of 160 points, three pairs of points collided. Here the number goes into all lanes, and every part of the id into two.
 */
export function lanesName(nodeId: string, number: number): Bytes {
  const id = utf8(nodeId);
  const again = 16 + Math.ceil(id.length / 16) * 16 + 4;
  const name = new Uint8Array(again + id.length);
  const view = new DataView(name.buffer);
  for (let lane = 0; lane < 4; lane++) view.setUint32(4 * lane, number, true);
  name.set(id, 16);
  name.set(id, again);
  return name;
}

/**
 * The table of `nodes` alone: every point digested and sorted. `ownerOf[i]` is what the table stores as owner of the points of `nodes[i]`.
 *
 * @throws KF_RING_COLLISION when two points have one digest; KF_BAD_HASHER when a digest has not the length that the hasher says.
 */
export function tableOf(nodes: readonly PointSource[], ownerOf: readonly number[], hasher: Hasher, nameOf: VirtualNodeName): RingTable {
  const width = hasher.digestBytes;
  let count = 0;
  for (const { points } of nodes) count += points;
  const digests = new Uint8Array(count * width);
  const owners = new Uint32Array(count);
  const numbers = new Uint32Array(count);
  let at = 0;
  nodes.forEach(({ name, points }, i) => {
    for (let number = 0; number < points; number++, at++) {
      const digest = hasher.digest(nameOf(name, number));
      if (digest.length !== width) throw badHasher(hasher, `gave a digest of ${digest.length} bytes and says ${width}`);
      digests.set(digest, at * width);
      owners[at] = ownerOf[i]!;
      numbers[at] = number;
    }
  });

  const table = new RingTable({ count, digestBytes: width });
  const order = sortedOrder(digests, width, count);
  for (let to = 0; to < count; to++) {
    const from = order[to]!;
    table.digests.set(digests.subarray(from * width, (from + 1) * width), to * width);
    table.owners[to] = owners[from]!;
    table.numbers[to] = numbers[from]!;
  }
  for (let i = 1; i < count; i++) if (compareAt(table, i - 1, table, i) === 0) throw collision(table, i);
  table.finish();
  return table;
}

/** Both tables' points in one. @throws KF_RING_COLLISION when a digest stands in both. */
export function merged(a: RingTable, b: RingTable): RingTable {
  const table = new RingTable({ count: a.count + b.count, digestBytes: a.digestBytes });
  let i = 0;
  let j = 0;
  for (let to = 0; to < table.count; to++) {
    const order = i === a.count ? 1 : j === b.count ? -1 : compareAt(a, i, b, j);
    if (order === 0) throw collision(b, j);
    if (order < 0) copyPoint(a, i++, table, to);
    else copyPoint(b, j++, table, to);
  }
  table.finish();
  return table;
}

/** Renumbers owners: `newOwner[old]` is the new number, or -1 when the owner's points go. */
export function renumbered(from: RingTable, newOwner: Int32Array): RingTable {
  let count = 0;
  for (let point = 0; point < from.count; point++) if (newOwner[from.owners[point]!]! >= 0) count++;
  const table = new RingTable({ count, digestBytes: from.digestBytes });
  let to = 0;
  for (let point = 0; point < from.count; point++) {
    const owner = newOwner[from.owners[point]!]!;
    if (owner < 0) continue;
    copyPoint(from, point, table, to);
    table.owners[to++] = owner;
  }
  table.finish();
  return table;
}

export function badHasher(hasher: Hasher, fault: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_HASHER', `hasher ${hasher.name} ${fault}`);
}

function copyPoint(from: RingTable, point: number, to: RingTable, at: number): void {
  const width = from.digestBytes;
  to.owners[at] = from.owners[point]!;
  to.numbers[at] = from.numbers[point]!;
  const start = point * width;
  for (let i = 0, out = at * width; i < width; i++) to.digests[out + i] = from.digests[start + i]!;
}

function compareAt(a: RingTable, i: number, b: RingTable, j: number): number {
  const width = a.digestBytes;
  for (let byte = 0, x = i * width, y = j * width; byte < width; byte++) {
    const difference = a.digests[x + byte]! - b.digests[y + byte]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Below this many points, head and place fit into the 53 bits of a number, and the engine's own sort of numbers does it. */
const NUMERIC_SORT_LIMIT = 2 ** 21;

function sortedOrder(digests: Bytes, width: number, count: number): Uint32Array {
  const digestAt = (i: number): Bytes => digests.subarray(i * width, (i + 1) * width);
  const byDigest = (i: number, j: number): number => compareBytes(digestAt(i), digestAt(j));
  if (count > NUMERIC_SORT_LIMIT) return Uint32Array.from({ length: count }, (_, i) => i).sort(byDigest);
  const keys = new Float64Array(count);
  for (let i = 0; i < count; i++) keys[i] = headOf(digestAt(i)) * NUMERIC_SORT_LIMIT + i;
  keys.sort();
  const order = Uint32Array.from(keys, (key) => key % NUMERIC_SORT_LIMIT);
  const headAt = (place: number): number => Math.floor(keys[place]! / NUMERIC_SORT_LIMIT);
  for (let from = 0, to = 1; from < count; from = to++) {
    while (to < count && headAt(to) === headAt(from)) to++;
    if (to - from > 1) order.subarray(from, to).sort(byDigest);
  }
  return order;
}

function collision(table: RingTable, point: number): KeyfleetError {
  const digest = Array.from(table.digestOf(point), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return new KeyfleetError('KF_RING_COLLISION', `two virtual nodes have the digest ${digest}; rename a node or take a longer digest`);
}
