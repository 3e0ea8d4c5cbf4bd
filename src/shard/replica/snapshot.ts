import { type Bytes, concatBytes, copyBytes, equalBytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { ChainHash, ZERO_HASH } from '../chain-hash.ts';
import { stateKey } from '../key-layout.ts';
import { decodeShardState, encodeShardState, type ShardState } from '../shard-state.ts';
import type { ShardReader, ShardStorage } from '../shard-storage.ts';
import { clearData, dataRanges, expiryOf, type KeyRange } from './shard-data.ts';

// All that a shard is at one entry, as chunks of bytes: its state first, then its counts by slot, its records with their cells, its sessions. The
// order of expiry is not sent: it follows from the records.
//
//   chunk = [key length u16][key][value length u32][value] …        hash(n) = H(hash(n−1), chunk n)
//
// It is installed in place, over whatever the replica had: the state says `faulted` from the first write until the last, so a replica that dies in the
// middle begins anew, and nobody is answered from half of it.

/** Reads a shard out of a storage that does not change meanwhile: a snapshot. */
export class SnapshotReader {
  readonly state: ShardState;
  readonly #reader: ShardReader;
  readonly #ranges: readonly KeyRange[];
  readonly #chunkBytes: number;
  readonly #chain = new ChainHash();
  #hash: Bytes = ZERO_HASH;
  #range = 0;
  #from: Bytes;

  /** @throws KF_SHARD_FAULTED when `reader` has no sound copy of the shard. */
  constructor(reader: ShardReader, shard: number, keyspaceId: number, chunkBytes: number) {
    const stored = reader.get(stateKey(shard));
    const state = stored && decodeShardState(stored);
    if (!state || state.status === 'faulted' || isTakenOver(reader, state))
      throw new KeyfleetError('KF_SHARD_FAULTED', `shard ${shard}: there is no sound copy here`);
    this.state = state;
    this.#reader = reader;
    this.#ranges = dataRanges(state, keyspaceId, reader);
    this.#chunkBytes = chunkBytes;
    this.#from = this.#ranges[0]!.from;
  }

  /** The hash of all chunks so far. */
  get hash(): Bytes {
    return this.#hash;
  }

  /** The next chunk, or undefined behind the last. Cost: what it holds; a value larger than a chunk has one to itself. */
  next(): Bytes | undefined {
    const parts: Bytes[] = [];
    let bytes = 0;
    while (bytes < this.#chunkBytes && this.#range < this.#ranges.length) {
      const { to } = this.#ranges[this.#range]!;
      let isFull = false;
      for (const { key, value } of this.#reader.scan({ from: this.#from, to })) {
        isFull = bytes > 0 && bytes + key.length + value.length + 6 > this.#chunkBytes;
        if (isFull) {
          this.#from = key;
          break;
        }
        const lengths = new Uint8Array(6);
        const view = new DataView(lengths.buffer);
        view.setUint16(0, key.length);
        view.setUint32(2, value.length);
        parts.push(lengths, key, value);
        bytes += 6 + key.length + value.length;
      }
      if (isFull) break;
      this.#range++;
      this.#from = this.#ranges[this.#range]?.from ?? this.#from;
    }
    if (parts.length === 0) return undefined;
    const chunk = concatBytes(...parts);
    this.#chain.start(this.#hash);
    this.#chain.add(chunk);
    this.#hash = this.#chain.finish();
    return chunk;
  }
}

/** What lies in the range of a frozen shard is its left neighbour's, and newer, as soon as that has taken it over here. */
function isTakenOver(reader: ShardReader, { status, peer, op }: ShardState): boolean {
  const stored = status === 'frozen' || status === 'retired' ? reader.get(stateKey(peer)) : undefined;
  if (!stored) return false;
  const left = decodeShardState(stored);
  return left.op > op || (left.op === op && left.phase === 'committed');
}

/** Installs the chunks of a snapshot. All calls write to the open batch, in slices that the caller commits as it likes. */
export class SnapshotWriter {
  readonly #storage: ShardStorage;
  readonly #state: ShardState;
  readonly #ranges: readonly KeyRange[];
  readonly #chain = new ChainHash();
  #hash: Bytes = ZERO_HASH;

  constructor(storage: ShardStorage, state: ShardState, keyspaceId: number) {
    this.#storage = storage;
    this.#state = state;
    this.#ranges = dataRanges(state, keyspaceId, storage);
  }

  /** Says that what is here is no sound copy from now on. @throws what the storage throws. */
  begin(): void {
    this.#storage.put(stateKey(this.#state.id), encodeShardState({ ...this.#state, status: 'faulted' }));
  }

  /** Removes at most `limit` pairs of what was here; true when nothing is left. */
  clear(limit: number): boolean {
    return clearData(this.#storage, this.#state.table, this.#ranges, limit);
  }

  /** Takes the next chunk. @throws KF_BAD_SNAPSHOT when it is none. */
  take(chunk: Bytes): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    for (let at = 0; at < chunk.length; ) {
      if (at + 6 > chunk.length) throw badSnapshot(this.#state.id, 'a chunk ends in the middle of something');
      const keyAt = at + 6;
      const valueAt = keyAt + view.getUint16(at);
      const end = valueAt + view.getUint32(at + 2);
      if (end > chunk.length) throw badSnapshot(this.#state.id, 'a chunk ends in the middle of something');
      const key = copyBytes(chunk, keyAt, valueAt);
      const value = copyBytes(chunk, valueAt, end);
      this.#storage.put(key, value);
      const expiry = expiryOf(this.#state.table, key, value);
      if (expiry) this.#storage.put(expiry, new Uint8Array(0));
      at = end;
    }
    this.#chain.start(this.#hash);
    this.#chain.add(chunk);
    this.#hash = this.#chain.finish();
  }

  /** All chunks have been taken: the replica is at the snapshot's entry. @throws KF_BAD_SNAPSHOT when they were not those that were sent. */
  finish(hash: Bytes): void {
    if (!equalBytes(hash, this.#hash)) throw badSnapshot(this.#state.id, 'what arrived is not what was sent');
    this.#storage.put(stateKey(this.#state.id), encodeShardState(this.#state));
  }
}

function badSnapshot(shard: number, what: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_SNAPSHOT', `the snapshot of shard ${shard}: ${what}`, { retryable: true });
}
