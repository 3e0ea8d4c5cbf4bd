import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { SnapshotReader, SnapshotWriter } from '../shard/replica/snapshot.ts';
import { decodeShardState, encodeShardState, type ShardState } from '../shard/shard-state.ts';
import type { Storage, StorageSnapshot } from '../storage/storage.ts';
import type { GroupCommit } from './group-commit.ts';
import type { NodeClock } from './node-clock.ts';

// Brings a shard's data from another replica, chunk by chunk, each asked for when the one before has been taken. Messages may be lost, late and
// doubled: a request is sent again until its chunk comes, and who sends remembers the last chunk. A transfer that stands still is begun anew.

export interface SnapshotRequest {
  readonly shard: number;
  /** The asker's number for the transfer. */
  readonly transfer: number;
  /** 0: from the beginning, of what there is now. */
  readonly index: number;
}

export interface SnapshotAnswer {
  readonly shard: number;
  readonly transfer: number;
  readonly index: number;
  /** Of the shard at the snapshot's entry; with the first chunk. */
  readonly state: Bytes | undefined;
  /** Undefined behind the last. */
  readonly chunk: Bytes | undefined;
  /** Of all chunks up to this one. */
  readonly hash: Bytes;
}

const DEFAULT_CHUNK_BYTES = 256 * 1024;
/** A transfer that is not asked for is forgotten, and its snapshot of the storage let go. */
const IDLE_MS = 30_000;
const RESEND_MS = 1_000;
/** Then another replica is asked. */
const RESENDS = 3;
const CLEARED_AT_A_TIME = 4_096;

interface Sending {
  readonly transfer: number;
  readonly reader: SnapshotReader;
  readonly snapshot: StorageSnapshot;
  last: SnapshotAnswer;
  usedMs: number;
}

/** The giving end, for all shards of a node. */
export class SnapshotSource {
  readonly #storage: Storage;
  readonly #commits: GroupCommit;
  readonly #clock: NodeClock;
  readonly #keyspaceIdOf: (shard: number) => number | undefined;
  readonly #chunkBytes: number;
  /** By asker and shard. */
  readonly #sendings = new Map<string, Sending>();

  constructor(options: {
    readonly storage: Storage;
    readonly commits: GroupCommit;
    readonly clock: NodeClock;
    /** Undefined while this node does not know what a shard is a part of: then it can give no sessions, and gives nothing. */
    readonly keyspaceIdOf: (shard: number) => number | undefined;
    /** How much goes into one chunk. Default: 256 KiB. */
    readonly chunkBytes?: number;
  }) {
    this.#storage = options.storage;
    this.#commits = options.commits;
    this.#clock = options.clock;
    this.#keyspaceIdOf = options.keyspaceIdOf;
    this.#chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
  }

  /** The answer to a request, or undefined when there is none to give. */
  answer(from: string, request: SnapshotRequest): SnapshotAnswer | undefined {
    this.#forgetIdle();
    const { shard, transfer, index } = request;
    const name = `${from} ${shard}`;
    const known = this.#sendings.get(name);
    if (known?.transfer === transfer) {
      known.usedMs = this.#clock.now().monoMs;
      if (index === known.last.index + 1) known.last = this.#next(known.reader, request);
      return index === known.last.index ? known.last : undefined;
    }
    const keyspaceId = this.#keyspaceIdOf(shard);
    if (index !== 0 || keyspaceId === undefined) return undefined;
    known?.snapshot.release();
    this.#sendings.delete(name);
    this.#commits.commit();
    const snapshot = this.#storage.snapshot();
    try {
      const reader = new SnapshotReader(snapshot, shard, keyspaceId, this.#chunkBytes);
      const last = { ...this.#next(reader, request), state: encodeShardState(reader.state) };
      this.#sendings.set(name, { transfer, reader, snapshot, last, usedMs: this.#clock.now().monoMs });
      return last;
    } catch (error) {
      snapshot.release();
      if (error instanceof KeyfleetError) return undefined;
      throw error;
    }
  }

  stop(): void {
    for (const { snapshot } of this.#sendings.values()) snapshot.release();
    this.#sendings.clear();
  }

  #next(reader: SnapshotReader, { shard, transfer, index }: SnapshotRequest): SnapshotAnswer {
    const chunk = reader.next();
    return { shard, transfer, index, state: undefined, chunk, hash: reader.hash };
  }

  #forgetIdle(): void {
    const { monoMs } = this.#clock.now();
    for (const [name, { usedMs, snapshot }] of this.#sendings) {
      if (monoMs - usedMs < IDLE_MS) continue;
      snapshot.release();
      this.#sendings.delete(name);
    }
  }
}

export interface SnapshotFetchOptions {
  readonly shard: number;
  readonly keyspaceId: number;
  readonly storage: Storage;
  readonly commits: GroupCommit;
  readonly clock: NodeClock;
  /** Who may have the data by now, without this node: asked one after the other, for as long as none gives them. */
  readonly peers: () => readonly string[];
  /** What this replica had run itself: a snapshot of no later entry helps it nothing, and it asks another peer. Default: any will do. */
  readonly beyond?: number;
  /** The least generation of the shard's log that a snapshot must be of. Default: any will do. */
  readonly generation?: number;
  readonly send: (to: string, request: SnapshotRequest) => void;
  /** Told what is about to be installed. False: not now, and it is asked for again in a while. */
  readonly onBegin?: (state: ShardState) => boolean;
  /** The shard is installed, at the entry that its stored state says. */
  readonly onDone: () => void;
}

/** The taking end, for one shard. */
export class SnapshotFetch {
  readonly #options: SnapshotFetchOptions;
  #writer: SnapshotWriter | undefined;
  /** Who is being asked, if there is anybody, and how many were so far. */
  #peer: string | undefined;
  #turns = 0;
  #transfer = 0;
  #index = 0;
  #sends = 0;
  #cancelTimer: () => void = () => {};
  #done = false;

  constructor(options: SnapshotFetchOptions) {
    this.#options = options;
    // Other than those of this node's earlier processes, which a peer may remember.
    this.#transfer = Math.floor(options.clock.now().wallMs);
    this.#begin();
  }

  /** An answer has come from a peer. */
  answered(from: string, answer: SnapshotAnswer): void {
    const { commits, onDone } = this.#options;
    if (this.#done || from !== this.#peer) return;
    if (answer.transfer !== this.#transfer || answer.index !== this.#index) return;
    if (answer.state && !this.#helps(decodeShardState(answer.state))) {
      // Its giver was away as well: the next one, in a while.
      this.#sends = RESENDS;
      return;
    }
    try {
      if (answer.state && !this.#install(answer.state)) return;
      if (!this.#writer) return;
      if (answer.chunk) this.#writer.take(answer.chunk);
      else this.#writer.finish(answer.hash);
      commits.wrote();
    } catch (error) {
      // A full disk, or a chunk that is none: from the beginning, in a while. What was written counts for nothing until then.
      if (!(error instanceof KeyfleetError)) throw error;
      this.#writer = undefined;
      this.#sends = RESENDS;
      return;
    }
    if (answer.chunk === undefined) {
      this.stop();
      onDone();
      return;
    }
    this.#index++;
    this.#sends = 0;
    this.#ask();
  }

  stop(): void {
    this.#done = true;
    this.#cancelTimer();
  }

  #helps({ applied, logGeneration }: ShardState): boolean {
    const { beyond = -1, generation = 0 } = this.#options;
    return logGeneration >= generation && applied > beyond;
  }

  #install(bytes: Bytes): boolean {
    const { storage, commits, keyspaceId, onBegin } = this.#options;
    const state = decodeShardState(bytes);
    if (onBegin?.(state) === false) {
      this.#sends = RESENDS;
      return false;
    }
    this.#writer = new SnapshotWriter(storage, state, keyspaceId);
    this.#writer.begin();
    while (!this.#writer.clear(CLEARED_AT_A_TIME)) commits.commit();
    return true;
  }

  /** Asks the next peer from the beginning. */
  #begin(): void {
    const peers = this.#options.peers();
    this.#peer = peers[this.#turns++ % peers.length];
    this.#writer = undefined;
    this.#transfer++;
    this.#index = 0;
    this.#sends = 0;
    this.#ask();
  }

  #ask(): void {
    const { shard, send, clock } = this.#options;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(RESEND_MS, () => {
      if (this.#sends < RESENDS) this.#ask();
      else this.#begin();
    });
    this.#sends++;
    if (this.#peer !== undefined) send(this.#peer, { shard, transfer: this.#transfer, index: this.#index });
  }
}
