// A thread of the shared-ring stress: looks up without pause and compares each answer with that of the version it says it came from.
import { workerData } from 'node:worker_threads';
import { type PartitionNode, SharedRing, type SharedRingHandle } from '../../src/partition/index.ts';

export interface ReaderData {
  readonly handle: SharedRingHandle;
  /** The three holders of key k in version v, packed, at [v * keys.length + k]. */
  readonly expected: Uint32Array;
  readonly keys: readonly string[];
  /** [stop, ready threads, look-ups, versions picked up, faults, first faulty version]; each thread adds its own. */
  readonly board: Int32Array;
}

export const BOARD = { stop: 0, ready: 1, lookups: 2, pickups: 3, faults: 4, faultyVersion: 5, words: 6 } as const;

export function packed(nodes: readonly PartitionNode[]): number {
  return nodes.reduce((all, { id }) => all * 1000 + Number(id.slice(1)) + 1, 0);
}

const { handle, expected, keys, board } = workerData as ReaderData;
const reader = SharedRing.open(handle);
const out: PartitionNode[] = [];
let lookups = 0;
let pickups = 0;
let last = 0;

function check(isRight: boolean): void {
  if (isRight) return;
  Atomics.add(board, BOARD.faults, 1);
  Atomics.compareExchange(board, BOARD.faultyVersion, 0, reader.version);
}

reader.owner(keys[0]!);
Atomics.add(board, BOARD.ready, 1);
Atomics.notify(board, BOARD.ready);
while (Atomics.load(board, BOARD.stop) === 0) {
  for (let k = 0; k < keys.length; k++) {
    const key = keys[k]!;
    const published = reader.latestVersion;
    const isWhole = (k & 7) !== 0;
    const found = isWhole ? packed(reader.replicas(key, 3, out)) : packed([reader.owner(key)]);
    const { version } = reader;
    const right = expected[version * keys.length + k]!;
    check(isWhole ? found === right : found === Math.floor(right / 1e6));
    check(version >= published && version >= last);
    if (version !== last) pickups++;
    last = version;
    lookups++;
  }
  // A whole copy, read at leisure, is one version too.
  const view = reader.snapshot();
  const { version } = reader;
  for (let k = 0; k < keys.length; k += 9) check(packed(view.replicas(keys[k]!, 3, out)) === expected[version * keys.length + k]);
  Atomics.add(board, BOARD.lookups, lookups);
  Atomics.add(board, BOARD.pickups, pickups);
  lookups = 0;
  pickups = 0;
}
reader.close();
