/**
 * A durable, append-only file of records: what a mover must know after any crash. A record is one line, `length checksum JSON`, and counts only when it was
 * fsynced. A torn last line is cut off on opening; damage before it is an error, never a guess.
 */
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { crc32cOf } from '../../partition/hash/crc32.ts';

export class Journal<Record> {
  readonly path: string;
  #file: FileHandle;
  /** Lines that the next write takes. */
  #queued: Buffer[] = [];
  #sync: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failed: KeyfleetError | undefined;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Opens or makes the file; resolves to it and its records. @throws KF_JOURNAL_DAMAGED, KF_STORAGE_FAILED. */
  static async open<Record>(path: string): Promise<{ readonly journal: Journal<Record>; readonly records: Record[] }> {
    try {
      const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return Buffer.alloc(0);
        throw error;
      });
      const { records, goodBytes } = readRecords<Record>(bytes, path);
      const file = await open(path, 'a', 0o600);
      if (goodBytes < bytes.length) await file.truncate(goodBytes);
      await file.sync();
      await syncDir(dirname(path));
      return { journal: new Journal<Record>(path, file), records };
    } catch (error) {
      throw error instanceof KeyfleetError ? error : failed(path, error);
    }
  }

  /** Resolves once the record is on disk; appends that run at the same time share a write and an fsync. @throws KF_STORAGE_FAILED, and from then on always. */
  async append(record: Record): Promise<void> {
    if (this.#failed) throw this.#failed;
    try {
      this.#queued.push(line(record));
      await this.#synced();
    } catch (error) {
      throw (this.#failed ??= failed(this.path, error));
    }
  }

  /** Replaces all records by these, in one step. */
  async rewrite(records: readonly Record[]): Promise<void> {
    if (this.#failed) throw this.#failed;
    const temporary = `${this.path}.new`;
    try {
      const file = await open(temporary, 'w', 0o600);
      await file.writeFile(Buffer.concat(records.map(line)));
      await file.sync();
      await rename(temporary, this.path);
      await syncDir(dirname(this.path));
      const before = this.#file;
      await file.close();
      this.#file = await open(this.path, 'a', 0o600);
      await before.close();
    } catch (error) {
      throw (this.#failed ??= failed(this.path, error));
    }
  }

  async close(): Promise<void> {
    await (this.#next ?? this.#sync)?.catch(() => {});
    await this.#file.close();
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.path, { force: true });
  }

  /** A write of what is queued, and an fsync, that begin after now. */
  #synced(): Promise<void> {
    if (this.#sync === undefined) return this.#start();
    return (this.#next ??= this.#sync.then(
      () => this.#start(),
      () => this.#start(),
    ));
  }

  #start(): Promise<void> {
    this.#next = undefined;
    const run = this.#write().finally(() => {
      if (this.#sync === run) this.#sync = undefined;
    });
    this.#sync = run;
    return run;
  }

  async #write(): Promise<void> {
    const lines = this.#queued;
    this.#queued = [];
    if (lines.length > 0) await this.#file.appendFile(Buffer.concat(lines));
    await this.#file.datasync();
  }
}

function line(record: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(record));
  return Buffer.concat([Buffer.from(`${json.length} ${checksum(json)} `), json, Buffer.from('\n')]);
}

function readRecords<Record>(bytes: Buffer, path: string): { records: Record[]; goodBytes: number } {
  const records: Record[] = [];
  let at = 0;
  while (at < bytes.length) {
    const head = /^(\d{1,10}) ([0-9a-f]{8}) /.exec(bytes.toString('latin1', at, at + 24));
    const from = at + (head?.[0].length ?? 0);
    const to = from + Number(head?.[1] ?? 0);
    const whole = head !== null && bytes[to] === 10;
    const json = bytes.subarray(from, to);
    if (!whole || checksum(json) !== head[2]) {
      // What a crash in the middle of an append leaves has no whole line behind it.
      const end = bytes.indexOf(10, at);
      if (end >= 0 && end + 1 < bytes.length)
        throw new KeyfleetError('KF_JOURNAL_DAMAGED', `${path} is damaged at byte ${at}; put back a good copy before moving on`);
      break;
    }
    records.push(JSON.parse(json.toString('utf8')) as Record);
    at = to + 1;
  }
  return { records, goodBytes: at };
}

function checksum(json: Uint8Array): string {
  return crc32cOf(json).toString(16).padStart(8, '0');
}

async function syncDir(path: string): Promise<void> {
  const dir = await open(path, 'r');
  await dir.sync().finally(() => dir.close());
}

function failed(path: string, error: unknown): KeyfleetError {
  return new KeyfleetError('KF_STORAGE_FAILED', `cannot write ${path}: ${messageOf(error)}`, { cause: error });
}
