import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { storageFailed } from './commit-progress.ts';
import { isDiskFull } from './directory.ts';
import type { Files, JournalFile } from './files.ts';
import { encodeSegmentHeader, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, sealRecord } from './journal-format.ts';
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

const SPARE_SEGMENTS = 2;
const RETRY_MS = 1_000;
const SYNC_INTERVAL_MS = 1_000;

/** A file of the journal. Segments are filled in the order of the list they form. */
export interface Segment {
  readonly id: number;
  readonly path: string;
  readonly capacityBytes: number;
  readonly file: JournalFile | undefined;
  next: Segment | undefined;
  /** The first and the last batch with a record in it; 0 while there is none. */
  first: CommitNumber;
  last: CommitNumber;
}

/** A closed record in memory and the place it was promised. */
export interface PlacedRecord {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly segment: Segment;
  readonly offset: number;
  readonly number: CommitNumber;
}

export interface JournalOptions {
  readonly files: Files;
  readonly dir: string;
  readonly segmentBytes: number;
  /** Each write is on disk when it is done; else the disk is told once a second. */
  readonly synced: boolean;
  readonly nextId: number;
  /** Everything up to here is on disk. */
  readonly number: CommitNumber;
  /** Segments of earlier runs, still needed. */
  readonly sealed: readonly Segment[];
  /** Files that may be used again. */
  readonly recyclable: readonly string[];
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
  #nextId: number;
  /** The segment of the last written record, then those to come. */
  #head: Segment | undefined;
  #tail: Segment | undefined;
  #sealed: Segment[];
  #recyclable: string[];
  #preparing: Promise<void> | undefined;
  /** Counts the segments made in haste; a preparation that one overtook is not linked. */
  #hasteCount = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #syncTimer: NodeJS.Timeout | undefined;
  #refusal: KeyfleetError | undefined;
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
    this.#nextId = options.nextId;
    this.#written = options.number;
    this.#synced = options.number;
    this.#sealed = [...options.sealed];
    this.#recyclable = [...options.recyclable];
  }

  /** Makes the first segments. A full disk makes it refuse writes, not fail. */
  async start(): Promise<void> {
    await this.#prepare();
  }

  /** Why no record can be placed for now. */
  get refusal(): KeyfleetError | undefined {
    return this.#failure ?? this.#refusal;
  }

  get synced(): CommitNumber {
    return this.#synced;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const segment of this.#sealed) bytes += segment.capacityBytes;
    for (let segment = this.#head; segment; segment = segment.next) bytes += segment.capacityBytes;
    return bytes + this.#recyclable.length * this.#options.segmentBytes;
  }

  /**
   * A segment after `previous` (the first one without it) with room for a record of `recordBytes`. Usually one that was made ahead; else
   * one is made here, blocking. @throws KF_DISK_FULL
   */
  segmentAfter(previous: Segment | undefined, recordBytes: number): Segment {
    const wanted = recordBytes + SEGMENT_HEADER_BYTES;
    for (let segment = previous ? previous.next : this.#head; segment; segment = segment.next) {
      if (segment.capacityBytes < wanted) continue;
      this.#prepareSoon(segment);
      return segment;
    }
    const segment = this.#makeInHaste(wanted);
    this.#prepareSoon(segment);
    return segment;
  }

  /** Takes closed records, which must not change from here on, to be written in order. */
  append(record: PlacedRecord): void {
    this.#pending.push(record);
    if (!this.#scheduled && !this.#writing) this.#schedule();
  }

  /** Forgets the segments whose batches are all `<= number`: they are safe elsewhere. */
  release(number: CommitNumber): void {
    const gone = this.#sealed.filter((segment) => segment.last <= number);
    if (gone.length === 0) return;
    this.#sealed = this.#sealed.filter((segment) => segment.last > number);
    const removed: string[] = [];
    for (const segment of gone) {
      this.#unsynced.delete(segment);
      segment.file?.close();
      if (segment.capacityBytes === this.#options.segmentBytes && this.#recyclable.length < SPARE_SEGMENTS)
        this.#recyclable.push(segment.path);
      else removed.push(segment.path);
    }
    // A file that cannot be removed now is found again at the next start.
    if (removed.length > 0) this.#options.files.remove(removed).catch(() => {});
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
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#syncTimer);
    try {
      while (!this.#failure && (this.#pending.length > 0 || this.#writing)) await this.#whenIdle();
      await this.sync(this.#written);
    } catch (error) {
      if (error !== this.#failure) throw error;
    } finally {
      await this.#preparing;
      await this.#syncing;
      for (const segment of this.#sealed) segment.file?.close();
      for (let segment = this.#head; segment; segment = segment.next) segment.file?.close();
      this.#head = undefined;
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
    while (this.#head && this.#head !== segment) {
      this.#sealed.push(this.#head);
      this.#head = this.#head.next;
    }
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
    this.#wakeIdle();
    this.#options.onFailed(this.#failure);
    return this.#failure;
  }

  // Making segments.

  #prepareSoon(current: Segment): void {
    if (spareCount(current) >= SPARE_SEGMENTS || this.#preparing || this.#retryTimer || this.#closing) return;
    this.#preparing = this.#prepare().finally(() => {
      this.#preparing = undefined;
      if (this.#tail && this.#refusal === undefined) this.#prepareSoon(spareCount(current) > 0 ? current : this.#tail);
    });
  }

  async #prepare(): Promise<void> {
    const { files, segmentBytes } = this.#options;
    const hasteCount = this.#hasteCount;
    const path = this.#pathOf(this.#nextId);
    const id = this.#nextId++;
    try {
      const recycled = this.#recyclable.pop();
      const bytes = recycled === undefined ? await this.#makeFile(path) : segmentBytes;
      if (recycled !== undefined) await files.rename(recycled, path);
      if (hasteCount === this.#hasteCount) this.#link(id, path, bytes);
      else if (bytes === segmentBytes) this.#recyclable.push(path);
      else await files.remove([path]);
      this.#refusal = undefined;
    } catch (error) {
      this.#refuseFor(error);
      this.#retryLater();
    }
  }

  /** Makes the file of a segment, as large as there is room for, and says how large. */
  async #makeFile(path: string): Promise<number> {
    for (let bytes = this.#options.segmentBytes; ; bytes = smallerThan(bytes)) {
      try {
        await this.#options.files.makeZeroed(path, bytes);
        return bytes;
      } catch (error) {
        if (!isDiskFull(error) || bytes <= this.#smallestBytes) throw error;
      }
    }
  }

  #makeInHaste(wanted: number): Segment {
    if (this.#failure) throw this.#failure;
    const { files, segmentBytes } = this.#options;
    const id = this.#nextId++;
    const path = this.#pathOf(id);
    const smallest = Math.max(wanted, this.#smallestBytes);
    for (let bytes = Math.max(wanted, segmentBytes); ; bytes = Math.max(smallest, smallerThan(bytes))) {
      try {
        files.makeZeroedSync(path, bytes);
        this.#hasteCount++;
        return this.#link(id, path, bytes);
      } catch (error) {
        if (isDiskFull(error) && bytes > smallest) continue;
        const refusal = this.#refuseFor(error);
        // A value too large for what is left says nothing about small ones.
        if (wanted <= segmentBytes) this.#refusal = refusal;
        this.#retryLater();
        throw refusal;
      }
    }
  }

  get #smallestBytes(): number {
    return smallerThan(smallerThan(this.#options.segmentBytes));
  }

  #link(id: number, path: string, capacityBytes: number): Segment {
    const file = this.#options.files.open(path, this.#options.synced);
    const segment: Segment = { id, path, capacityBytes, file, next: undefined, first: 0, last: 0 };
    if (this.#tail) this.#tail.next = segment;
    this.#head ??= segment;
    this.#tail = segment;
    return segment;
  }

  #refuseFor(cause: unknown): KeyfleetError {
    return new KeyfleetError(
      'KF_DISK_FULL',
      `no room for the journal in ${this.#options.dir}: ${messageOf(cause)}; writes are refused until there is`,
      { cause, retryable: true },
    );
  }

  #retryLater(): void {
    if (this.#retryTimer || this.#closing || this.#failure) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#closing || this.#preparing) return;
      this.#preparing = this.#prepare().finally(() => {
        this.#preparing = undefined;
      });
    }, RETRY_MS);
    this.#retryTimer.unref();
  }

  #pathOf(id: number): string {
    return join(this.#options.dir, segmentName(id));
  }
}

/** Where there is no room for a segment, a smaller one is made: a quarter of it, and then a quarter of that. */
function smallerThan(segmentBytes: number): number {
  return Math.ceil(segmentBytes / 4);
}

function spareCount(current: Segment): number {
  let count = 0;
  for (let segment = current.next; segment; segment = segment.next) count++;
  return count;
}

export function segmentName(id: number): string {
  return `${id.toString().padStart(12, '0')}.journal`;
}

/** The id in a segment's file name, or undefined for another file. */
export function segmentId(name: string): number | undefined {
  const match = /^(\d{12,})\.journal$/.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** The room a record takes beside its operations. */
export const RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES;
