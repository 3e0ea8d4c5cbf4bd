import { assert } from '../base/assert.ts';
import { equalBytes } from '../base/bytes.ts';
import type { ControlCommand, ControlOutcome } from './control-command.ts';
import { stateKey } from './key-layout.ts';
import { decodeShardState, encodeShardState, newShardState, type ShardState, type WorkflowPhase } from './shard-state.ts';
import type { ShardReader, ShardStorage } from './shard-storage.ts';
import { SlotCounts } from './slot-counts.ts';

// What each step of a split and of a merge does to a shard. A shard remembers of workflows only the last: the numbers that the meta shard gives
// them ascend, and a shard takes part in one at a time, so whatever comes for an earlier one is late. Within one, what was decided first
// stands: a step that finds the workflow decided has no effect.

/** The shard that a step is for: changed in place. Its entry has its number and its hash already. */
export interface ControlSubject {
  readonly state: ShardState;
  counts: SlotCounts;
  readonly storage: ShardStorage;
  /** The counts of another shard as they are now, where they are at hand; else those that are stored, which are the same. */
  readonly countsOf?: ((shard: number) => SlotCounts | undefined) | undefined;
  /** What a split has cut off: the child, and what is in it. */
  born?: BornShard | undefined;
}

export interface BornShard {
  readonly id: number;
  readonly counts: SlotCounts;
}

/**
 * The other shard whose entry `seq` this replica must have run before it can run `command`; undefined when there is none. What is waited for has
 * been appended already, so the waiting ends.
 */
export function waitsFor(reader: ShardReader, command: ControlCommand): { readonly shard: number; readonly seq: number } | undefined {
  if (command.kind !== 'merge-commit') return undefined;
  const right = storedState(reader, command.right);
  return right && right.applied >= command.rightSeq ? undefined : { shard: command.right, seq: command.rightSeq };
}

export function applyControl(subject: ControlSubject, command: ControlCommand): ControlOutcome {
  const { state } = subject;
  if (command.op < state.op) return 'late';
  const phase: WorkflowPhase = command.op > state.op ? 'none' : state.phase;
  switch (command.kind) {
    case 'split-mark':
      if (phase === 'marked') return 'already';
      if (phase !== 'none') return 'cancelled';
      if (state.status !== 'serving' || command.at <= state.range.from || command.at >= state.range.to)
        return enter(state, command.op, 'cancelled');
      return split(subject, command);
    case 'split-cancel':
      if (phase === 'marked') return 'already';
      return phase === 'none' ? cancel(state, command.op) : 'cancelled';
    case 'genesis':
      if (state.status !== 'awaiting-genesis') return phase === 'born' ? 'already' : 'cancelled';
      assert(command.parent === state.peer && command.parentSeq === state.peerSeq, () => `shard ${state.id}: a genesis of another cut`);
      state.status = 'serving';
      return 'done';
    case 'merge-prepare':
      if (phase === 'prepared' || phase === 'committed') return 'already';
      if (phase !== 'none') return 'cancelled';
      if (state.status !== 'serving') return enter(state, command.op, 'cancelled');
      return enter(state, command.op, 'prepared', command.right);
    case 'freeze':
      if (phase === 'frozen' || phase === 'retired') return 'already';
      if (phase !== 'none') return 'cancelled';
      if (state.status !== 'serving') return enter(state, command.op, 'cancelled');
      state.status = 'frozen';
      return enter(state, command.op, 'frozen', command.left);
    case 'merge-commit':
      if (phase === 'committed') return 'already';
      return phase === 'prepared' ? merge(subject, command) : 'cancelled';
    case 'merge-cancel':
      if (phase === 'committed') return 'already';
      return phase === 'none' || phase === 'prepared' ? cancel(state, command.op) : 'cancelled';
    case 'unfreeze':
      if (phase === 'retired') return 'late';
      if (phase === 'cancelled') return 'already';
      if (phase === 'frozen') state.status = 'serving';
      return cancel(state, command.op);
    case 'retired':
      if (phase === 'retired') return 'already';
      if (phase !== 'frozen') return 'late';
      state.status = 'retired';
      return enter(state, command.op, 'retired');
  }
}

/** Both halves as of this entry, which is the cut; the records stay where they are, since a shard is a range of its table. */
function split(subject: ControlSubject, command: ControlCommand & { kind: 'split-mark' }): ControlOutcome {
  const { state, counts, storage } = subject;
  const { op, at, child } = command;
  const range = { from: at, to: state.range.to };
  const right = counts.cut(range);
  const born: ShardState = {
    ...newShardState({ id: child, range, table: state.table, leader: state.leader }),
    ...countsOf(right),
    status: 'awaiting-genesis',
    hash: state.hash,
    nowMs: state.nowMs,
    nextGeneration: state.nextGeneration,
    sessionsExpiredBeforeMs: state.sessionsExpiredBeforeMs,
    loadId: state.loadId,
    op,
    phase: 'born',
    peer: state.id,
    peerSeq: state.applied,
  };
  right.writeAll(storage, child, 0);
  subject.born = { id: child, counts: right };
  storage.put(stateKey(child), encodeShardState(born));
  state.range = { from: state.range.from, to: at };
  replaceCounts(subject, counts.cut(state.range));
  return enter(state, op, 'marked', child);
}

function merge(subject: ControlSubject, command: ControlCommand & { kind: 'merge-commit' }): ControlOutcome {
  const { state, counts, storage } = subject;
  const { op, right: id, rightSeq, rightHash } = command;
  const right = storedState(storage, id);
  assert(right !== undefined && right.applied >= rightSeq, () => `shard ${state.id}: shard ${id} has not come to entry ${rightSeq}`);
  // It may have run more than that since: leaders that came and went, its retirement. Nothing of it has changed by that.
  const isFrozen = (right.phase === 'frozen' || right.phase === 'retired') && right.op === op;
  const isAsFrozen = isFrozen && (right.applied > rightSeq || equalBytes(right.hash, rightHash));
  assert(isAsFrozen, () => `shard ${state.id}: shard ${id} at entry ${right.applied} is not what was frozen at ${rightSeq}`);
  // The left one was cleared and the right one was not, or the other way round: one table cannot hold both.
  if (right.table !== state.table || right.range.from !== state.range.to) return enter(state, op, 'cancelled');
  state.range = { from: state.range.from, to: right.range.to };
  state.nowMs = Math.max(state.nowMs, right.nowMs);
  state.nextGeneration = Math.max(state.nextGeneration, right.nextGeneration);
  state.sessionsExpiredBeforeMs = Math.max(state.sessionsExpiredBeforeMs, right.sessionsExpiredBeforeMs);
  const taken = subject.countsOf?.(id) ?? SlotCounts.load(storage, { ...right, shift: counts.shift, since: right.countsSince });
  replaceCounts(subject, counts.joined(taken, state.range));
  subject.counts.writeFrom(storage, state.id, state.applied, taken.firstSlot);
  return enter(state, op, 'committed', id);
}

function replaceCounts(subject: ControlSubject, counts: SlotCounts): void {
  subject.counts = counts;
  Object.assign(subject.state, countsOf(counts));
}

function countsOf(counts: SlotCounts): Pick<ShardState, 'keyCount' | 'sizeBytes' | 'expiringCount'> {
  const { keys, bytes, expiring } = counts.sum();
  return { keyCount: keys, sizeBytes: bytes, expiringCount: expiring };
}

function cancel(state: ShardState, op: number): ControlOutcome {
  enter(state, op, 'cancelled');
  return 'done';
}

function enter(state: ShardState, op: number, phase: WorkflowPhase, peer = state.peer): ControlOutcome {
  state.op = op;
  state.phase = phase;
  state.peer = peer;
  return phase === 'cancelled' ? 'cancelled' : 'done';
}

function storedState(reader: ShardReader, id: number): ShardState | undefined {
  const stored = reader.get(stateKey(id));
  return stored && decodeShardState(stored);
}
