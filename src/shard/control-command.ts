import { type Bytes, copyBytes, freshBytes } from '../base/bytes.ts';
import { HASH_BYTES } from './chain-hash.ts';

// The steps of a split and of a merge that are entries of a shard's log. Each stands alone in its entry, and each is safe to append twice.
// The order in which they come, and why it is safe to die between any two: docs/protocol/split.md and docs/protocol/merge.md.

/** `op` numbers the workflow; the meta shard gives each number once, and a shard sees them in ascending order. */
export type ControlCommand =
  /** To the parent: gives [at, end of range) to the new shard `child`. */
  | { readonly kind: 'split-mark'; readonly op: number; readonly at: number; readonly child: number }
  /** To the parent: there will be no cut, unless there was one already. */
  | { readonly kind: 'split-cancel'; readonly op: number }
  /**
   * The first entry of a child, chained to the parent's hash behind its entry `parentSeq`, which is the cut. All of it follows from the cut, time and
   * leader included, so any replica may append it.
   */
  | { readonly kind: 'genesis'; readonly op: number; readonly parent: number; readonly parentSeq: number }
  /** To the left shard: takes part in nothing else from now on. */
  | { readonly kind: 'merge-prepare'; readonly op: number; readonly right: number }
  /** To the right shard: changes no more. */
  | { readonly kind: 'freeze'; readonly op: number; readonly left: number }
  /** To the left shard: takes over the right one, as that was behind its entry `rightSeq`. */
  | { readonly kind: 'merge-commit'; readonly op: number; readonly right: number; readonly rightSeq: number; readonly rightHash: Bytes }
  /** To the left shard: there will be no merge, unless there was one already. */
  | { readonly kind: 'merge-cancel'; readonly op: number }
  /** To the right shard, once the left one has cancelled: serves again. */
  | { readonly kind: 'unfreeze'; readonly op: number }
  /** To the right shard: was taken over. */
  | { readonly kind: 'retired'; readonly op: number };

/**
 * What became of a step. `done`: it took effect. `already`: it had taken effect before. `cancelled`: the workflow was decided the other way, or could
 * not be done. `late`: the shard has taken part in later workflows since. All but `done` change nothing, but for the number and the hash of the entry.
 */
export type ControlOutcome = 'done' | 'already' | 'cancelled' | 'late';

/** Their kinds in an entry, behind those of entry.ts. */
const FIRST_KIND = 16;
const KINDS = [
  'split-mark',
  'split-cancel',
  'genesis',
  'merge-prepare',
  'freeze',
  'merge-commit',
  'merge-cancel',
  'unfreeze',
  'retired',
] as const satisfies readonly ControlCommand['kind'][];

/** [kind u8][op f64][a f64][b f64][hash 16], whatever the kind: there are few of them. */
export const CONTROL_BYTES = 1 + 3 * 8 + HASH_BYTES;

export function encodeControl(command: ControlCommand): Bytes {
  const out = freshBytes(CONTROL_BYTES);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const put = (a: number, b = 0, hash?: Bytes): Bytes => {
    view.setFloat64(9, a);
    view.setFloat64(17, b);
    if (hash) out.set(hash, 25);
    return out;
  };
  out[0] = FIRST_KIND + KINDS.indexOf(command.kind);
  view.setFloat64(1, command.op);
  switch (command.kind) {
    case 'split-mark':
      return put(command.at, command.child);
    case 'genesis':
      return put(command.parent, command.parentSeq);
    case 'merge-prepare':
      return put(command.right);
    case 'freeze':
      return put(command.left);
    case 'merge-commit':
      return put(command.right, command.rightSeq, command.rightHash);
    default:
      return out;
  }
}

export function isControlKind(kind: number): boolean {
  return kind >= FIRST_KIND && kind < FIRST_KIND + KINDS.length;
}

/** `body`: what stands behind the kind. */
export function decodeControl(kindNumber: number, body: Bytes): ControlCommand {
  const kind = KINDS[kindNumber - FIRST_KIND]!;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const op = view.getFloat64(0);
  const a = view.getFloat64(8);
  const b = view.getFloat64(16);
  switch (kind) {
    case 'split-mark':
      return { kind, op, at: a, child: b };
    case 'genesis':
      return { kind, op, parent: a, parentSeq: b };
    case 'merge-prepare':
      return { kind, op, right: a };
    case 'freeze':
      return { kind, op, left: a };
    case 'merge-commit':
      return { kind, op, right: a, rightSeq: b, rightHash: copyBytes(body, 24) };
    default:
      return { kind, op };
  }
}
