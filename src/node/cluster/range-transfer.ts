import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { BackupBlock } from '../../shard/range-reader.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Transport } from '../../transport/transport.ts';
import { type RangeHead, type RangeReading, SnapshotReading } from '../backup/range-reading.ts';
import type { GroupCommit } from '../group-commit.ts';
import type { NodeClock } from '../node-clock.ts';
import { requestWhole } from './large-answers.ts';
import { decodeJson, encodeJson } from './reports.ts';

// Parts of a backup, from a node that has a copy of the shard to the one that a backup asks. Block by block, each asked for when the one before has
// been taken; who gives remembers the last, since a request may come twice.
//
//   request   [transfer f64][index u32][what to read: JSON, with index 0]
//   answer    [0][head: JSON]   or   [1][records u32][sessions u32][items]   or   [2] behind the last

export const RANGE = 'range';
const HEAD = 0;
const BLOCK = 1;
const END = 2;
/** Whoever asks for nothing for so long has given up. */
const IDLE_MS = 60_000;
const TIMEOUT_MS = 5_000;
const ATTEMPTS = 3;

/** A part of a shard, as of entry `minSeq` or later. */
export interface RangeWish {
  readonly keyspaceId: number;
  readonly shard: number;
  readonly from: number;
  readonly to: number;
  readonly minSeq: number;
}

interface Giving {
  readonly reading: SnapshotReading;
  index: number;
  last: Bytes;
  usedMs: number;
}

/** The giving end, for all shards of a node. */
export class RangeSource {
  readonly #storage: Storage;
  readonly #commits: GroupCommit;
  readonly #clock: NodeClock;
  /** By asker and transfer. */
  readonly #givings = new Map<string, Giving>();

  constructor(storage: Storage, commits: GroupCommit, clock: NodeClock) {
    this.#storage = storage;
    this.#commits = commits;
    this.#clock = clock;
  }

  /** Reads from this node's own copy. @throws as SnapshotReading.open. */
  open(wish: RangeWish): Promise<SnapshotReading> {
    this.#commits.commit();
    return SnapshotReading.open(this.#storage, this.#storage.snapshot(), wish);
  }

  /** @throws as {@link open}; KF_NODE_SILENT when the transfer has been forgotten. */
  async answer(from: string, payload: Bytes): Promise<Bytes> {
    this.#forgetIdle();
    const request = new ByteReader(payload);
    const [transfer, index] = [request.f64(), request.u32()];
    const name = `${from} ${transfer}`;
    const { monoMs: usedMs } = this.#clock.now();
    const known = this.#givings.get(name);
    if (!known) {
      if (index !== 0) throw new KeyfleetError('KF_NODE_SILENT', 'the rest of a part of a backup was not fetched in time');
      const reading = await this.open(decodeJson<RangeWish>(request.sized()));
      const last = new ByteWriter(512).u8(HEAD).bytes(encodeJson(reading.head)).finish();
      this.#givings.get(name)?.reading.close();
      this.#givings.set(name, { reading, index, last, usedMs });
      return last;
    }
    known.usedMs = usedMs;
    if (index === known.index + 1) {
      const block = known.reading.read();
      known.index = index;
      known.last = block
        ? new ByteWriter(9 + block.bytes.length).u8(BLOCK).u32(block.records).u32(block.sessions).bytes(block.bytes).finish()
        : Uint8Array.of(END);
      // The snapshot of the storage goes at once; the answer may have to be given again.
      if (!block) known.reading.close();
    }
    if (index !== known.index)
      throw new KeyfleetError('KF_NODE_SILENT', `block ${index} of a part of a backup was asked for behind ${known.index}`);
    return known.last;
  }

  stop(): void {
    for (const { reading } of this.#givings.values()) reading.close();
    this.#givings.clear();
  }

  #forgetIdle(): void {
    const { monoMs } = this.#clock.now();
    for (const [name, { usedMs, reading }] of this.#givings) {
      if (monoMs - usedMs < IDLE_MS) continue;
      reading.close();
      this.#givings.delete(name);
    }
  }
}

/** The taking end: a part that another node reads. */
export class FetchedRange implements RangeReading {
  readonly head: RangeHead;
  readonly #ask: (index: number) => Promise<Bytes>;
  #index = 0;
  #ahead: Promise<Bytes> | undefined;

  private constructor(head: RangeHead, ask: (index: number) => Promise<Bytes>) {
    this.head = head;
    this.#ask = ask;
  }

  /** `transfer`: a number that this node gives no other. @throws as the other node does; KF_NODE_SILENT, KF_NODE_UNREACHABLE. */
  static async open(transport: Transport, node: string, wish: RangeWish, transfer: number): Promise<FetchedRange> {
    const ask = async (index: number): Promise<Bytes> => {
      const request = new ByteWriter(128).f64(transfer).u32(index);
      if (index === 0) request.sized(encodeJson(wish));
      const payload = request.finish();
      for (let attempt = 1; ; attempt++) {
        try {
          return await requestWhole(transport, node, RANGE, payload, TIMEOUT_MS);
        } catch (error) {
          const isSilent = error instanceof KeyfleetError && error.code === 'KF_NODE_SILENT';
          if (!isSilent || attempt === ATTEMPTS) throw error;
        }
      }
    };
    return new FetchedRange(decodeJson<RangeHead>((await ask(0)).subarray(1)), ask);
  }

  async next(): Promise<BackupBlock | undefined> {
    const answer = new ByteReader(await (this.#ahead ?? this.#ask(++this.#index)));
    this.#ahead = undefined;
    if (answer.u8() === END) return undefined;
    const [records, sessions] = [answer.u32(), answer.u32()];
    const bytes = answer.rest();
    // The next block comes while this one is written.
    this.#ahead = this.#ask(++this.#index);
    this.#ahead.catch(() => {});
    return { bytes, records, sessions };
  }

  /** The other node forgets it by itself. */
  close(): void {}
}
