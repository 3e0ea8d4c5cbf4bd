import { join } from 'node:path';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { isDiskFull } from './directory.ts';
import type { Files, JournalFile } from './files.ts';
import type { CommitNumber } from './storage.ts';

// The files of the journal: made ahead, filled in order, used again once nobody needs what is in them.

const SPARE_SEGMENTS = 2;
const RETRY_MS = 1_000;

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

export interface SegmentsOptions {
  readonly files: Files;
  readonly dir: string;
  readonly segmentBytes: number;
  /** Each write is on disk when it is done; else the disk is told once a second. */
  readonly synced: boolean;
  readonly nextId: number;
  /** Segments of earlier runs, still needed. */
  readonly sealed: readonly Segment[];
  /** Files that may be used again. */
  readonly recyclable: readonly string[];
}

export class Segments {
  readonly #options: SegmentsOptions;
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
  #refusal: KeyfleetError | undefined;
  #isStopped = false;

  constructor(options: SegmentsOptions) {
    this.#options = options;
    this.#nextId = options.nextId;
    this.#sealed = [...options.sealed];
    this.#recyclable = [...options.recyclable];
  }

  /** Why none can be made for now. */
  get refusal(): KeyfleetError | undefined {
    return this.#refusal;
  }

  get diskBytes(): number {
    let bytes = 0;
    for (const segment of this.#sealed) bytes += segment.capacityBytes;
    for (let segment = this.#head; segment; segment = segment.next) bytes += segment.capacityBytes;
    return bytes + this.#recyclable.length * this.#options.segmentBytes;
  }

  /**
   * A segment after `previous` (the first one without it) with at least `wanted` bytes. Usually one that was made ahead; else one is made
   * here, blocking. @throws KF_DISK_FULL
   */
  after(previous: Segment | undefined, wanted: number): Segment {
    for (let segment = previous ? previous.next : this.#head; segment; segment = segment.next) {
      if (segment.capacityBytes < wanted) continue;
      this.#prepareSoon(segment);
      return segment;
    }
    const segment = this.#makeInHaste(wanted);
    this.#prepareSoon(segment);
    return segment;
  }

  /** `segment` is written to now: those before it are not any more. */
  sealBefore(segment: Segment): void {
    while (this.#head && this.#head !== segment) {
      this.#sealed.push(this.#head);
      this.#head = this.#head.next;
    }
  }

  /** Lets go of the sealed segments whose batches are all `<= number`, and returns them. */
  release(number: CommitNumber): readonly Segment[] {
    const gone = this.#sealed.filter((segment) => segment.last <= number);
    if (gone.length === 0) return gone;
    this.#sealed = this.#sealed.filter((segment) => segment.last > number);
    const removed: string[] = [];
    for (const segment of gone) {
      segment.file?.close();
      if (segment.capacityBytes === this.#options.segmentBytes && this.#recyclable.length < SPARE_SEGMENTS)
        this.#recyclable.push(segment.path);
      else removed.push(segment.path);
    }
    // A file that cannot be removed now is found again at the next start.
    if (removed.length > 0) this.#options.files.remove(removed).catch(() => {});
    return gone;
  }

  /** Makes no more. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retryTimer);
  }

  /** Lets go of the files. The unused ones stay for the next start. */
  async close(): Promise<void> {
    this.stop();
    await this.#preparing;
    for (const segment of this.#sealed) segment.file?.close();
    for (let segment = this.#head; segment; segment = segment.next) segment.file?.close();
    this.#head = undefined;
  }

  #prepareSoon(current: Segment): void {
    if (spareCount(current) >= SPARE_SEGMENTS || this.#preparing || this.#retryTimer || this.#isStopped) return;
    this.#preparing = this.prepare().finally(() => {
      this.#preparing = undefined;
      if (this.#tail && this.#refusal === undefined) this.#prepareSoon(spareCount(current) > 0 ? current : this.#tail);
    });
  }

  /** Makes one more segment. A full disk makes writes be refused, not this fail. */
  async prepare(): Promise<void> {
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
    if (this.#retryTimer || this.#isStopped) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#isStopped || this.#preparing) return;
      this.#preparing = this.prepare().finally(() => {
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
