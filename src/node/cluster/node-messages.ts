import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import type { Bytes } from '../../base/bytes.ts';
import type { Vote } from '../../shard/replica/digests.ts';
import type { SnapshotAnswer, SnapshotRequest } from '../snapshot-transfer.ts';

// What nodes tell each other beside the requests of clients.

export const REPORT = 'report';
export const SNAPSHOT = 'snapshot';
export const CLAIM = 'claim';
export const URGE = 'urge';
export const MEMBERS = 'members';

/** A replica says how far it has come, and what it found when the replicas last compared what they have. */
export interface SeqReport {
  readonly shard: number;
  readonly seq: number;
  /** All up to there is in its storage for good; else it is the snapshot that it is being brought. */
  readonly isDurable: boolean;
  readonly vote?: Vote | undefined;
}

export function encodeReport({ shard, seq, isDurable, vote }: SeqReport): Bytes {
  const out = new ByteWriter(41)
    .u32(shard)
    .f64(seq)
    .u8(isDurable ? 1 : 0);
  if (vote) out.f64(vote.seq).sized(vote.hash);
  return out.finish();
}

export function decodeReport(bytes: Bytes): SeqReport {
  const reader = new ByteReader(bytes);
  const [shard, seq, isDurable] = [reader.u32(), reader.f64(), reader.u8() === 1];
  return { shard, seq, isDurable, vote: reader.atEnd ? undefined : { seq: reader.f64(), hash: reader.sized() } };
}

export function encodeSnapshotRequest({ shard, transfer, index }: SnapshotRequest): Bytes {
  return new ByteWriter(16).u32(shard).f64(transfer).u32(index).finish();
}

export function decodeSnapshotRequest(bytes: Bytes): SnapshotRequest {
  const reader = new ByteReader(bytes);
  return { shard: reader.u32(), transfer: reader.f64(), index: reader.u32() };
}

/** Nothing at all: there is no answer to give. */
export function encodeSnapshotAnswer(answer: SnapshotAnswer | undefined): Bytes {
  if (!answer) return new Uint8Array(0);
  const { shard, transfer, index, state, chunk, hash } = answer;
  const out = new ByteWriter(64 + (chunk?.length ?? 0)).u32(shard).f64(transfer).u32(index).sized(hash);
  out.u8((state ? 1 : 0) | (chunk ? 2 : 0));
  if (state) out.sized(state);
  if (chunk) out.sized(chunk);
  return out.finish();
}

export function decodeSnapshotAnswer(bytes: Bytes): SnapshotAnswer | undefined {
  if (bytes.length === 0) return undefined;
  const reader = new ByteReader(bytes);
  const [shard, transfer, index, hash, has] = [reader.u32(), reader.f64(), reader.u32(), reader.sized(), reader.u8()];
  const state = has & 1 ? reader.sized() : undefined;
  const chunk = has & 2 ? reader.sized() : undefined;
  return { shard, transfer, index, state, chunk, hash };
}

/** The number of a shard alone. */
export function encodeShard(shard: number): Bytes {
  return new ByteWriter(4).u32(shard).finish();
}

export function decodeShard(bytes: Bytes): number {
  return new ByteReader(bytes).u32();
}
