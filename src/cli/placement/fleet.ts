import type { PartitionNode } from '../../partition/node.ts';

/** A node as the placement commands know it. */
export interface FleetNode extends PartitionNode {
  readonly id: string;
  readonly weight: number;
  readonly zone?: string;
  readonly rack?: string;
  /** The alias that a twemproxy file gives a server: its points are named after it. */
  readonly alias?: string;
}

/** Who holds keys, and how they are chosen: from flags, from a file, or both. */
export interface Fleet {
  readonly nodes: readonly FleetNode[];
  readonly algorithm: string;
  readonly replicas: number;
  /** A hash by name; the algorithm's own when absent. */
  readonly hash: string | undefined;
  readonly hashTag: string | undefined;
  readonly virtualNodes: number | undefined;
  /** Slots or entries of a table. */
  readonly slots: number | undefined;
  /** Where ranges of keys start, but for the first. */
  readonly splits: readonly string[] | undefined;
}

/** Above this a number after the only colon is taken for a port. */
const MOST_WEIGHT_AFTER_ONE_COLON = 1_000;

/**
 * Reads `id[:weight][@zone[/rack]]`, or `host:port:weight[@zone[/rack]]` as twemproxy writes it.
 *
 * @throws Error saying what is wrong, for the caller to say where.
 */
export function parseNode(text: string): FleetNode {
  const at = text.lastIndexOf('@');
  const place = at < 0 ? undefined : text.slice(at + 1);
  const name = at < 0 ? text : text.slice(0, at);
  const colon = name.lastIndexOf(':');
  const id = colon < 0 ? name : name.slice(0, colon);
  const weight = colon < 0 ? 1 : Number(name.slice(colon + 1) || Number.NaN);
  if (id === '') throw new Error(`${JSON.stringify(text)} has no id; write id, id:weight or id:weight@zone`);
  if (!(weight > 0) || !Number.isFinite(weight))
    throw new Error(`${JSON.stringify(text)} has the weight ${JSON.stringify(name.slice(colon + 1))}; a weight is a number above 0`);
  if (weight > MOST_WEIGHT_AFTER_ONE_COLON && !id.includes(':'))
    throw new Error(`${JSON.stringify(text)}: is ${weight} a port? then give the weight too: ${name}:1`);
  return { id, weight, ...placeOf(text, place) };
}

function placeOf(text: string, place: string | undefined): { zone?: string; rack?: string } {
  if (place === undefined) return {};
  const [zone, rack, ...more] = place.split('/');
  if (!zone || rack === '' || more.length > 0) throw new Error(`${JSON.stringify(text)} has no zone after @; write @zone or @zone/rack`);
  return rack === undefined ? { zone } : { zone, rack };
}
