import { assert } from '../base/assert.ts';
import { ByteReader, ByteWriter } from '../base/byte-stream.ts';
import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type BackupItem, decodeItems } from './backup-items.ts';
import type { ChangeLedger } from './change-ledger.ts';
import { cellPrefix, expiryKey, isCut, placedSessionKey, recordKey } from './key-layout.ts';
import { decodeRecordHeader, encodeRecordHeader, type RecordHeader, recordBytes } from './record.ts';
import { putCell } from './record-cells.ts';
import { ShardMovedError } from './shard-moved-error.ts';
import type { PositionRange, ShardState } from './shard-state.ts';
import type { ShardStorage } from './shard-storage.ts';

// How a shard takes what a backup holds: through its log, like all that changes it, so that replicas have the same.
//
//   serving, empty ──begin(id)──► loading ──records(id) …──► loading ──end(id)──► serving
//
// A shard that loads answers nobody (KF_KEYSPACE_LOADING) and is neither split nor merged. The id is that of one restore; the shard keeps it, also when
// it serves again and when it is split, until it is cleared. So each step may come twice and late: of another restore it is refused, and what has been
// done is not done again. Records are put as they are, over what the same restore has put before.

export type LoadCommand =
  /** To an empty shard. */
  | { readonly step: 'begin'; readonly id: string }
  /** `items`: see backup-items.ts. */
  | { readonly step: 'records'; readonly id: string; readonly items: Bytes }
  /** Everything has been loaded. Sessions not used since that time had expired where they come from. */
  | { readonly step: 'end'; readonly id: string; readonly sessionsExpiredBeforeMs: number };

/** Of the shard that took the step: its range, and whether it loads still. */
export interface LoadReply {
  readonly range: PositionRange;
  readonly isLoading: boolean;
}

const STEPS = ['begin', 'records', 'end'] as const satisfies readonly LoadCommand['step'][];
/** The id of a restore has at most so many bytes. */
export const MAX_LOAD_ID_BYTES = 100;

export function encodeLoad(command: LoadCommand): Bytes {
  const out = new ByteWriter(128 + (command.step === 'records' ? command.items.length : 0))
    .u8(STEPS.indexOf(command.step))
    .sized(utf8(command.id));
  if (command.step === 'records') out.bytes(command.items);
  else if (command.step === 'end') out.f64(command.sessionsExpiredBeforeMs);
  return out.finish();
}

/** Its items lie in the memory of `bytes`. */
export function decodeLoad(bytes: Bytes): LoadCommand {
  const reader = new ByteReader(bytes);
  const step = STEPS[reader.u8()];
  const id = fromUtf8(reader.sized());
  switch (step) {
    case 'begin':
      return { step, id };
    case 'records':
      return { step, id, items: bytes.subarray(reader.at) };
    case 'end':
      return { step, id, sessionsExpiredBeforeMs: reader.f64() };
    default:
      throw new KeyfleetError('KF_BAD_ENTRY', `not an entry of a shard's log: a step ${bytes[0]} of a restore`);
  }
}

/** The shard that is to take a step: its state is changed in place, and only when nothing fails. */
export interface LoadSubject {
  readonly state: ShardState;
  readonly storage: ShardStorage;
  readonly keyspaceId: number;
  readonly positionOf: (key: Bytes) => number;
  readonly ledger: ChangeLedger;
}

/**
 * Takes a step; true when it changed something. @throws KF_KEYSPACE_NOT_EMPTY, KF_RESTORE_RUNNING, KF_NOT_LOADING, KF_SHARD_BUSY, KF_SHARD_MOVED,
 * KF_BACKUP_DAMAGED, or what the storage throws; the caller undoes the writes then.
 */
export function runLoad(subject: LoadSubject, command: LoadCommand): boolean {
  const { state } = subject;
  const { status, id, keyCount, loadId, phase } = state;
  if (status !== 'serving' && status !== 'loading') throw new ShardMovedError(state, undefined);
  const isOurs = loadId === command.id;
  if (command.step !== 'begin') {
    if (!isOurs)
      throw new KeyfleetError('KF_NOT_LOADING', `shard ${id} takes no records of restore ${command.id}: it was not begun, or was given up`);
    if (status === 'serving') return false;
    if (command.step === 'records') {
      for (const item of decodeItems(command.items)) put(subject, item);
    } else {
      state.status = 'serving';
      state.sessionsExpiredBeforeMs = Math.max(state.sessionsExpiredBeforeMs, command.sessionsExpiredBeforeMs);
    }
    return true;
  }
  if (isOurs) return false;
  if (status === 'loading') throw restoreRunning(id, loadId);
  if (keyCount > 0)
    throw new KeyfleetError('KF_KEYSPACE_NOT_EMPTY', `shard ${id} has ${keyCount} keys; a backup is restored into an empty keyspace`);
  if (phase === 'prepared') throw new KeyfleetError('KF_SHARD_BUSY', `shard ${id} is being merged`, { retryable: true });
  assert(command.id !== '' && utf8(command.id).length <= MAX_LOAD_ID_BYTES, () => `a restore with id ${command.id}`);
  state.status = 'loading';
  state.loadId = command.id;
  // All cells that it is given are of this generation, which no record here ever had.
  state.nextGeneration++;
  return true;
}

function restoreRunning(shard: number, loadId: string): KeyfleetError {
  return new KeyfleetError('KF_RESTORE_RUNNING', `shard ${shard} is being restored by ${loadId}; end that first, or clear the keyspace`);
}

/** What a request is told by a shard that loads. */
export function stillLoading({ id }: Readonly<ShardState>): KeyfleetError {
  return new KeyfleetError('KF_KEYSPACE_LOADING', `shard ${id} is being restored from a backup and serves nobody until all is there`, {
    retryable: true,
  });
}

function put(subject: LoadSubject, item: BackupItem): void {
  const { state, storage, keyspaceId, positionOf } = subject;
  if (item.kind === 'session') {
    ownPosition(state, item.place);
    storage.put(placedSessionKey(keyspaceId, item.place, item.rest), item.value);
    return;
  }
  const position = positionOf(item.key);
  ownPosition(state, position);
  const storageKey = recordKey(state.table, position, item.key);
  if (item.kind === 'record') {
    putRecord(subject, storageKey, position, item);
    return;
  }
  const prefix = cellPrefix(storageKey, generationOf(state));
  for (const { cell, value } of item.cells) putCell(storage, prefix, cell, value);
}

function putRecord(
  { state, storage, ledger }: LoadSubject,
  storageKey: Bytes,
  position: number,
  { key, expireAtMs, sizeBytes, value, hasCells }: BackupItem & { kind: 'record' },
): void {
  const { change } = ledger;
  const stored = storage.get(storageKey);
  if (stored) {
    const before: RecordHeader = { expireAtMs: undefined, generation: 0, sizeBytes: 0, key: undefined };
    decodeRecordHeader(stored, before);
    change.bytes += sizeBytes - before.sizeBytes;
    if (before.expireAtMs !== undefined) {
      storage.delete(expiryKey(storageKey, before.expireAtMs));
      change.expiring--;
    }
  } else {
    change.keys++;
    change.bytes += key.length + sizeBytes;
  }
  if (expireAtMs !== undefined) {
    storage.put(expiryKey(storageKey, expireAtMs), NO_BYTES);
    change.expiring++;
  }
  ledger.note(position);
  const header: RecordHeader = {
    expireAtMs,
    sizeBytes,
    generation: hasCells ? generationOf(state) : 0,
    key: isCut(storageKey) ? key : undefined,
  };
  const record = new Uint8Array(recordBytes(header, value.length));
  record.set(value, encodeRecordHeader(header, value.length, record));
  storage.put(storageKey, record);
}

const NO_BYTES: Bytes = new Uint8Array(0);

/** Given out when the shard began to load; nothing else is since. */
function generationOf({ nextGeneration }: ShardState): number {
  return nextGeneration - 1;
}

function ownPosition(state: ShardState, position: number): void {
  const { from, to } = state.range;
  if (position < from || position >= to) throw new ShardMovedError(state, position);
}
