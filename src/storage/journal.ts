import { performance } from 'node:perf_hooks';
import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { storageFailed } from './commit-progress.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, sealRecord } from './journal-format.ts';
import { type Segment, Segments, type SegmentsOptions } from './segments.ts';
import type { CommitNumber } from './storage.ts';

// The journal as it is written: files of a fixed size whose room on disk is taken before it is needed, so that a write extends no file
// (no file system metadata to sync) and a full disk shows before anything is promised.
//
// Group commit without a timer: while one write is under way, closed batches gather; when it is done, all of them go in the next.
// The first batch of an idle journal is written when the call stack that committed it is done, which may have committed others too.
//
// One write to a file opened with O_DSYNC against write + fdatasync, 200 bytes, file laid out before, on 2 shared cores and a virtual disk:
// 143 µs against 198 µs (two trips through the thread pool), 228 µs when the file grows; two O_DSYNC writes in flight: 111 µs each, but
// then groups are half as large, and a crash can keep the second and lose the first. So: O_DSYNC, one in flight.

const SYNC_INTERVAL_MS = 1_000;

/** A closed record in memory and the place it was promised. */
export interface PlacedRecord {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly segment: Segment;
  readonly offset: number;
  readonly number: CommitNumber;
}

export interface JournalOptions extends SegmentsOptions {
  /** Everything up to here is on disk. */
  readonly number: CommitNumber;
  /** Milliseconds to hold the next write back, when the rest of the storage cannot keep up. */
  readonly holdBackMs: () => number;
  /** Batches up to here were written. */
  readonly onWritten: (number: CommitNumber) => void;
  readonly onSynced: (number: CommitNumber) => void;
  readonly onFailed: (error: KeyfleetError) => void;
}

interface Write {
  readonly segment: Segment;
  readonly offset: number;
  readonly parts: Bytes[];
  bytes: number;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #segments: Segments;
  #syncTimer: NodeJS.Timeout | undefined;
  #failure: KeyfleetError | undefined;
  #pending: PlacedRecord[] = [];
  #scheduled = false;
  #writing = false;
  #written: CommitNumber;
  #synced: CommitNumber;
  readonly #unsynced = new Set<Segment>();
  #syncing: Promise<void> | undefined;
  #idle: (() => void)[] = [];
  #closing = false;
  syncCount = 0;
  syncSeconds = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#segments = new Segments(options);
    this.#written = options.number;
    this.#synced = options.number;
  }

  /** Makes the first segments. A full disk makes it refuse writes, not fail. */
  async start(): Promise<void> {
    await this.#segments.prepare();
  }

  /** Why no record can be placed for now. */
  get refusal(): KeyfleetError | undefined {
    return this.#failure ?? this.#segments.refusal;
  }

  get synced(): CommitNumber {
    return this.#synced;
  }

  get diskBytes(): number {
    return this.#segments.diskBytes;
  }

  /** Where a record of `recordBytes` goes that does not fit into `previous`. @throws KF_DISK_FULL, KF_STORAGE_FAILED */
  segmentAfter(previous: Segment | undefined, recordBytes: number): Segment {
    if (this.#failure) throw this.#failure;
    return this.#segments.after(previous, recordBytes + SEGMENT_HEADER_BYTES);
  }

  /** Takes closed records, which must not change from here on, to be written in order. */
  append(record: PlacedRecord): void {
    this.#pending.push(record);
    if (!this.#scheduled && !this.#writing) this.#schedule();
  }

  /** Forgets the segments whose batches are all `<= number`: they are safe elsewhere. */
  release(number: CommitNumber): void {
    for (const segment of this.#segments.release(number)) this.#unsynced.delete(segment);
  }

  /** Resolves when everything written so far is on disk. @throws KF_STORAGE_FAILED */
  async sync(number: CommitNumber): Promise<void> {
    while (this.#synced < number) {
      if (this.#failure) throw this.#failure;
      if (this.#written < number) await this.#whenIdle();
      else await this.#syncFiles();
    }
  }

  /** Writes and syncs what is there, then lets go of the files. The unused ones stay for the next start. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#segments.stop();
    clearTimeout(this.#syncTimer);
    try {
      while (!this.#failure && (this.#pending.length > 0 || this.#writing)) await this.#whenIdle();
      await this.sync(this.#written);
    } catch (error) {
      if (error !== this.#failure) throw error;
    } finally {
      await this.#syncing;
      await this.#segments.close();
    }
  }

  #schedule(): void {
    this.#scheduled = true;
    const holdBackMs = this.#closing ? 0 : this.#options.holdBackMs();
    if (holdBackMs > 0) setTimeout(this.#write, holdBackMs);
    else process.nextTick(this.#write);
  }

  readonly #write = (): void => {
    this.#scheduled = false;
    if (this.#failure || this.#writing || this.#pending.length === 0) return;
    const group = this.#pending;
    this.#pending = [];
    this.#writing = true;
    this.#perform(this.#planWrites(group), 0, group.at(-1)!.number);
  };

  /** Seals the records and joins those that lie together in memory as well as on disk. */
  #planWrites(group: readonly PlacedRecord[]): Write[] {
    const writes: Write[] = [];
    let write: Write | undefined;
    let at = 0;
    while (at < group.length) {
      const { bytes, start, segment, offset, number } = group[at]!;
      let end = start;
      let last = number;
      for (; at < group.length; at++) {
        const record = group[at]!;
        if (record.bytes !== bytes || record.segment !== segment || record.start !== end) break;
        sealRecord(bytes, record.start, record.end, segment.id, this.#synced);
        end = record.end;
        last = record.number;
      }
      if (write?.segment !== segment) {
        write = { segment, offset, parts: [], bytes: 0 };
        if (segment.first === 0) {
          write = { segment, offset: 0, parts: [encodeSegmentHeader({ id: segment.id, first: number, synced: this.#synced })], bytes: 0 };
          segment.first = number;
        }
        writes.push(write);
      }
      segment.last = last;
      write.parts.push(bytes.subarray(start, end));
      write.bytes += end - start;
    }
    return writes;
  }

  #perform(writes: readonly Write[], index: number, number: CommitNumber): void {
    const write = writes[index];
    if (!write) {
      this.#groupWritten(number);
      return;
    }
    const { segment } = write;
    this.#segments.sealBefore(segment);
    const startedMs = performance.now();
    segment.file!.write(write.parts, write.offset, (error) => {
      if (error) {
        this.#fail('write', segment.path, error);
        return;
      }
      this.syncCount++;
      this.syncSeconds += (performance.now() - startedMs) / 1_000;
      if (!this.#options.synced) this.#unsynced.add(segment);
      this.#perform(writes, index + 1, number);
    });
  }

  #groupWritten(number: CommitNumber): void {
    this.#writing = false;
    this.#written = number;
    if (this.#options.synced) this.#synced = number;
    else if (!this.#syncTimer && !this.#closing) {
      this.#syncTimer = setTimeout(() => {
        this.#syncTimer = undefined;
        this.#syncFiles().catch(() => {});
      }, SYNC_INTERVAL_MS);
      this.#syncTimer.unref();
    }
    // Scheduled before the listeners schedule anything: the disk works while they answer. What they commit joins the next group.
    if (this.#pending.length > 0) this.#schedule();
    this.#options.onWritten(number);
    if (this.#options.synced) this.#options.onSynced(number);
    this.#wakeIdle();
  }

  /** fdatasync of all files written to since the last one. */
  #syncFiles(): Promise<void> {
    this.#syncing ??= this.#syncFilesNow().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #syncFilesNow(): Promise<void> {
    const number = this.#written;
    const segments = [...this.#unsynced];
    this.#unsynced.clear();
    const startedMs = performance.now();
    for (const segment of segments) {
      const error = await new Promise<Error | null>((resolve) => segment.file!.sync(resolve));
      if (error) throw this.#fail('sync', segment.path, error);
    }
    this.syncCount++;
    this.syncSeconds += (performance.now() - startedMs) / 1_000;
    if (number > this.#synced) {
      this.#synced = number;
      this.#options.onSynced(number);
    }
  }

  #whenIdle(): Promise<void> {
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #wakeIdle(): void {
    if (this.#idle.length === 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const wake of idle) wake();
  }

  #fail(what: string, path: string, cause: Error): KeyfleetError {
    this.#writing = false;
    this.#failure ??= storageFailed(
      `cannot ${what} the journal ${path}: ${cause.message}; what was not yet acknowledged has an unknown outcome; restart once the disk is well`,
      cause,
    );
    this.#segments.stop();
    this.#wakeIdle();
    this.#options.onFailed(this.#failure);
    return this.#failure;
  }
}
