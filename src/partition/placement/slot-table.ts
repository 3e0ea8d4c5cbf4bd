/**
 * The answer of every placement: which nodes hold each slot, in one flat array.
 *
 * ```
 *  cells   [ slot 0: primary, replica, replica | slot 1: primary, replica, replica | … ]   numbers index nodeIds
 * ```
 *
 * Slots are equal parts of the 2^32 positions; the count need not be a power of two, then sizes differ by one position at most.
 */
import { KeyfleetError } from '../../base/errors.ts';
import type { KeyInput } from '../hasher.ts';

export const POSITION_COUNT = 0x1_0000_0000;
export const MAX_SLOT_COUNT = 1 << 20;
/** A cell is 16 bits wide. */
export const MAX_NODE_COUNT = 65_535;

export interface SlotTable {
  readonly slotCount: number;
  /** Nodes per slot, all different; the first is the primary. */
  readonly replicaCount: number;
  readonly nodeIds: readonly string[];
  /** `slotCount * replicaCount` indexes into `nodeIds`. */
  readonly cells: Uint16Array;
  /**
   * Said by `sticky`: no table with these counts copies less. False under a custom rule, where copies and balance may be off, or when a
   * search used up its budget. Not kept in JSON.
   */
  readonly isLeast?: boolean;
}

/** Owns every position p with `from <= p < to`; `to` may be 2^32. */
export interface PositionRange {
  readonly from: number;
  readonly to: number;
}

/** The slot of a position. Exact: the product stays below 2^53. */
export function slotOfPosition(position: number, slotCount: number): number {
  return Math.floor((position * slotCount) / POSITION_COUNT);
}

/** The first position of a slot; `slotStart(slotCount, slotCount)` is 2^32. */
export function slotStart(slot: number, slotCount: number): number {
  return Math.ceil((slot * POSITION_COUNT) / slotCount);
}

/** The positions of slots `from … to - 1`. */
export function rangeOfSlots(from: number, to: number, slotCount: number): PositionRange {
  return { from: slotStart(from, slotCount), to: slotStart(to, slotCount) };
}

/** @throws KF_BAD_SLOT_COUNT, KF_BAD_REPLICA_COUNT */
export function checkShape(slotCount: number, replicaCount: number): void {
  if (!Number.isInteger(slotCount) || slotCount < 1 || slotCount > MAX_SLOT_COUNT)
    throw new KeyfleetError('KF_BAD_SLOT_COUNT', `a slot count is a whole number in 1 … ${MAX_SLOT_COUNT}, not ${slotCount}`);
  if (!Number.isInteger(replicaCount) || replicaCount < 1 || replicaCount > 255)
    throw new KeyfleetError('KF_BAD_REPLICA_COUNT', `a replica count is a whole number in 1 … 255, not ${replicaCount}`);
}

/** Replicas held by each node, in the order of `nodeIds`. */
export function heldCounts(table: SlotTable): Uint32Array {
  const counts = new Uint32Array(table.nodeIds.length);
  // Large arrays are walked by index: their iterator takes several times as long.
  for (let at = 0; at < table.cells.length; at++) counts[table.cells[at]!]!++;
  return counts;
}

/** Slots each node is primary of. */
export function primaryCounts(table: SlotTable): Uint32Array {
  const counts = new Uint32Array(table.nodeIds.length);
  for (let at = 0; at < table.cells.length; at += table.replicaCount) counts[table.cells[at]!]!++;
  return counts;
}

/** FNV-1a over ids and cells: one number that differs when two tables do, the same on every engine. */
export function tableChecksum(table: SlotTable): number {
  let hash = 0x811c9dc5;
  const mix = (byte: number): void => {
    hash = Math.imul(hash ^ byte, 0x01000193);
  };
  for (const id of table.nodeIds) {
    for (let i = 0; i < id.length; i++) {
      mix(id.charCodeAt(i) & 0xff);
      mix(id.charCodeAt(i) >> 8);
    }
    mix(0xff);
  }
  for (const cell of table.cells) {
    mix(cell & 0xff);
    mix(cell >> 8);
  }
  return hash >>> 0;
}

/**
 * A slot table drawn from any algorithm with `owner` or `replicas`, so that it can be compared with {@link diffTables}:
 * each slot stands for one sample key. Positions mean nothing here, only shares do: 65,536 samples tell movement to about 0.2 %.
 *
 * Cost: one look-up per slot.
 *
 * @throws KF_TABLE_INVALID when the algorithm answers with a node that is not in `nodeIds`, or with fewer than `replicaCount`.
 */
export function sampleTable(options: {
  readonly slotCount: number;
  readonly replicaCount: number;
  readonly nodeIds: readonly string[];
  /** Ids of the replicas of a key, the owner first. */
  readonly replicas: (key: KeyInput) => readonly string[];
  /** The sample key of a slot; `sample-<slot>` when absent. */
  readonly keyOf?: (slot: number) => KeyInput;
}): SlotTable {
  const { slotCount, replicaCount, nodeIds, replicas, keyOf = (slot: number) => `sample-${slot}` } = options;
  checkShape(slotCount, replicaCount);
  const indexOf = indexById(nodeIds);
  const cells = new Uint16Array(slotCount * replicaCount);
  for (let slot = 0; slot < slotCount; slot++) {
    const ids = replicas(keyOf(slot));
    for (let i = 0; i < replicaCount; i++) {
      const node = indexOf.get(ids[i] ?? '');
      if (node === undefined) throw invalidTable(`the sample of slot ${slot} has replica ${i + 1} on ${ids[i] ?? 'no node'}`);
      cells[slot * replicaCount + i] = node;
    }
  }
  return { slotCount, replicaCount, nodeIds, cells };
}

/** @throws KF_DUPLICATE_NODE, KF_TOO_MANY_NODES */
export function indexById(ids: readonly string[]): Map<string, number> {
  if (ids.length > MAX_NODE_COUNT)
    throw new KeyfleetError('KF_TOO_MANY_NODES', `${ids.length} nodes; a slot table holds at most ${MAX_NODE_COUNT}`);
  const indexOf = new Map<string, number>();
  for (const [index, id] of ids.entries()) {
    if (indexOf.has(id)) throw new KeyfleetError('KF_DUPLICATE_NODE', `node ${id} is there already; ids are distinct`);
    indexOf.set(id, index);
  }
  return indexOf;
}

/** Refuses a table from outside that is not one. @throws KF_TABLE_INVALID and what {@link checkShape} and {@link indexById} throw. */
export function checkTable(table: SlotTable): void {
  const { slotCount, replicaCount, nodeIds, cells } = table;
  checkShape(slotCount, replicaCount);
  indexById(nodeIds);
  if (cells.length !== slotCount * replicaCount)
    throw invalidTable(`${cells.length} cells; ${slotCount} slots of ${replicaCount} replicas need ${slotCount * replicaCount}`);
  for (let at = 0; at < cells.length; at++) {
    const node = cells[at]!;
    const slot = Math.floor(at / replicaCount);
    if (node >= nodeIds.length) throw invalidTable(`slot ${slot} names node number ${node} of ${nodeIds.length}`);
    for (let before = slot * replicaCount; before < at; before++)
      if (cells[before] === node) throw invalidTable(`slot ${slot} has node ${nodeIds[node]} twice`);
  }
}

export function invalidTable(what: string): KeyfleetError {
  return new KeyfleetError('KF_TABLE_INVALID', `not a slot table: ${what}`);
}
