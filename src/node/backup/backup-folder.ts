import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import type { KeyspacePolicy } from '../../shard/policy.ts';
import type { PositionSchemeName } from '../../shard/position-scheme.ts';
import { type DiskPace, SYNC_BYTES } from './disk-pace.ts';

// A backup is a folder: the parts, and backup.json, which says what they are and is written last. While it is being made, there is parts.jsonl instead,
// with a line for each part that is whole.

/** A release reads its own format and earlier ones. */
export const BACKUP_FORMAT = 1;
const MANIFEST = 'backup.json';
const JOURNAL = 'parts.jsonl';
const PART_ENDING = '.kfb';
/** What a part is called until it is whole. */
export const UNFINISHED = '.part';

/** One shard's records in one range, as of one entry of its log. */
export interface BackupPart {
  readonly keyspace: string;
  readonly file: string;
  readonly from: number;
  readonly to: number;
  readonly shard: number;
  readonly seq: number;
  readonly epoch: number;
  /** Of that entry, in hex: the hash chain of the shard's log. */
  readonly hash: string;
  /** When it was read, in milliseconds since 1970. */
  readonly takenMs: number;
  readonly sessionsExpiredBeforeMs: number;
  readonly records: number;
  readonly sessions: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface BackedUpKeyspace {
  readonly name: string;
  readonly id: number;
  readonly module: string;
  readonly scheme: PositionSchemeName;
  readonly policy: KeyspacePolicy;
  readonly records: number;
  readonly bytes: number;
  /** In order of position; together they cover it all. */
  readonly parts: readonly BackupPart[];
}

/** What backup.json holds. */
export interface BackupManifest {
  readonly kind: 'keyfleet-backup';
  readonly format: number;
  /** Of this backup alone. */
  readonly id: string;
  readonly release: string;
  readonly cluster: string | null;
  readonly node: string;
  readonly startedMs: number;
  readonly finishedMs: number;
  readonly keyspaces: readonly BackedUpKeyspace[];
}

/** What the journal of an unfinished backup begins with. */
export interface BackupBeginning {
  readonly id: string;
  readonly startedMs: number;
  /** What it is of: another backup does not go on in its folder. */
  readonly of: string;
}

/** @throws KF_NO_BACKUP, KF_BACKUP_UNFINISHED, KF_FORMAT_TOO_NEW, KF_BACKUP_DAMAGED. */
export async function readManifest(dir: string): Promise<BackupManifest> {
  let text: string;
  try {
    text = await readFile(join(dir, MANIFEST), 'utf8');
  } catch (error) {
    const names: readonly string[] = await readdir(dir).catch(() => []);
    if (names.includes(JOURNAL)) {
      throw new KeyfleetError(
        'KF_BACKUP_UNFINISHED',
        `${dir} holds a backup that was not finished: the same \`keyfleet backup\` goes on with it`,
      );
    }
    throw new KeyfleetError('KF_NO_BACKUP', `${dir} holds no backup: ${messageOf(error)}`, { cause: error });
  }
  let manifest: BackupManifest;
  try {
    manifest = JSON.parse(text) as BackupManifest;
  } catch {
    throw damaged(dir, `${MANIFEST} is no JSON`);
  }
  if (manifest.kind !== 'keyfleet-backup' || !Array.isArray(manifest.keyspaces)) throw damaged(dir, `${MANIFEST} is of something else`);
  if (manifest.format > BACKUP_FORMAT) {
    throw new KeyfleetError(
      'KF_FORMAT_TOO_NEW',
      `${dir} is a backup of format ${manifest.format}; this release of Keyfleet reads up to ${BACKUP_FORMAT}`,
    );
  }
  for (const { name, parts } of manifest.keyspaces) checkTiling(dir, name, parts);
  return manifest;
}

/** The parts of a keyspace cover all positions, none twice. @throws KF_BACKUP_DAMAGED. */
export function checkTiling(dir: string, keyspace: string, parts: readonly BackupPart[]): void {
  let at = 0;
  for (const { from, to, file } of parts) {
    if (from !== at || to <= from)
      throw damaged(dir, `keyspace ${keyspace}: ${file} begins at ${from}, and what is before it ends at ${at}`);
    at = to;
  }
  if (at !== 0x1_0000_0000) throw damaged(dir, `keyspace ${keyspace}: its parts end at ${at}`);
}

export function damaged(dir: string, what: string): KeyfleetError {
  return new KeyfleetError('KF_BACKUP_DAMAGED', `${dir}: ${what}`);
}

/** The name of a part's file. */
export function partFile(keyspace: string, from: number, to: number): string {
  const hex = (position: number): string => position.toString(16).padStart(9, '0');
  return `${keyspace}.${hex(from)}-${hex(to)}${PART_ENDING}`;
}

/** The bytes of a part as they stand in its file; `take` is shown each piece. */
export async function* partBytes(
  dir: string,
  { file }: BackupPart,
  take: (bytes: Bytes) => void = () => {},
): AsyncGenerator<Bytes, void, undefined> {
  try {
    for await (const chunk of createReadStream(join(dir, file), { highWaterMark: 256 * 1024 })) {
      take(chunk as Bytes);
      yield chunk as Bytes;
    }
  } catch (error) {
    if (error instanceof KeyfleetError) throw error;
    throw damaged(dir, `${file} cannot be read: ${messageOf(error)}`);
  }
}

/** A folder that a backup is written to. */
export class BackupFolder {
  readonly dir: string;
  readonly beginning: BackupBeginning;
  /** Whole already. */
  readonly parts: BackupPart[];
  readonly #journal: Awaited<ReturnType<typeof open>>;

  private constructor(dir: string, beginning: BackupBeginning, parts: BackupPart[], journal: Awaited<ReturnType<typeof open>>) {
    this.dir = dir;
    this.beginning = beginning;
    this.parts = parts;
    this.#journal = journal;
  }

  /**
   * Begins a backup in an empty folder, made when missing, or goes on with one of the same.
   * @throws KF_BACKUP_EXISTS, KF_BACKUP_WRITE_FAILED.
   */
  static async open(dir: string, fresh: BackupBeginning): Promise<BackupFolder> {
    return writing(dir, async () => {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const names = await readdir(dir);
      if (names.includes(MANIFEST)) throw exists(dir, 'it has a backup already');
      const lines = names.includes(JOURNAL) ? wholeLines(await readFile(join(dir, JOURNAL), 'utf8')) : [];
      if (lines.length === 0 && names.some((name) => name !== JOURNAL)) throw exists(dir, 'it is not empty');
      const beginning = lines.length > 0 ? (JSON.parse(lines[0]!) as BackupBeginning) : fresh;
      if (beginning.of !== fresh.of) throw exists(dir, 'it has an unfinished backup of something else');
      const journal = await open(join(dir, JOURNAL), 'a');
      if (lines.length === 0) {
        await journal.truncate(0);
        await journal.write(`${JSON.stringify(fresh)}\n`);
        await journal.datasync();
      } else {
        // Ends a line that was cut short.
        await journal.write('\n');
      }
      return new BackupFolder(
        dir,
        beginning,
        lines.slice(1).map((line) => JSON.parse(line) as BackupPart),
        journal,
      );
    });
  }

  /** A part is whole, on disk and under its name. */
  async add(part: BackupPart): Promise<void> {
    await writing(this.dir, async () => {
      await this.#journal.write(`${JSON.stringify(part)}\n`);
      await this.#journal.datasync();
    });
    this.parts.push(part);
  }

  /** All parts are there: from now on it is a backup. */
  async finish(manifest: BackupManifest): Promise<void> {
    await writing(this.dir, async () => {
      const scratch = join(this.dir, `${MANIFEST}.new`);
      const file = await open(scratch, 'w', 0o600);
      await file.writeFile(`${JSON.stringify(manifest, null, 1)}\n`);
      await file.sync();
      await file.close();
      await syncDir(this.dir);
      await rename(scratch, join(this.dir, MANIFEST));
      await this.close();
      await rm(join(this.dir, JOURNAL));
      // What runs that were killed have left.
      const files = new Set(manifest.keyspaces.flatMap(({ parts }) => parts.map(({ file: name }) => name)));
      for (const name of await readdir(this.dir)) {
        if (name.endsWith(UNFINISHED) || (name.endsWith(PART_ENDING) && !files.has(name))) await rm(join(this.dir, name));
      }
      await syncDir(this.dir);
    });
  }

  /** Leaves it for a later run. */
  async close(): Promise<void> {
    await this.#journal.close();
  }
}

/** Lines that are JSON whole; a process that was killed may have left half of one. */
function wholeLines(text: string): string[] {
  return text.split('\n').filter((line) => {
    try {
      return typeof JSON.parse(line) === 'object';
    } catch {
      return false;
    }
  });
}

/** A file of a part while it is written. */
export class PartFile {
  readonly #dir: string;
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #path: string;
  readonly #pace: DiskPace | undefined;
  readonly #hash = createHash('sha256');
  #unsyncedBytes = 0;
  bytes = 0;

  private constructor(dir: string, path: string, file: Awaited<ReturnType<typeof open>>, pace: DiskPace | undefined) {
    this.#dir = dir;
    this.#path = path;
    this.#file = file;
    this.#pace = pace;
  }

  /** `pace`: of all parts that are written to the same disk. Undefined: at full speed. */
  static async create(dir: string, name: string, pace: DiskPace | undefined): Promise<PartFile> {
    const path = join(dir, name + UNFINISHED);
    return writing(dir, async () => new PartFile(dir, path, await open(path, 'w', 0o600), pace));
  }

  async write(bytes: Bytes): Promise<void> {
    this.#hash.update(bytes);
    this.bytes += bytes.length;
    await writing(this.#dir, async () => {
      for (let at = 0; at < bytes.length; ) at += (await this.#file.write(bytes, at)).bytesWritten;
      this.#unsyncedBytes += bytes.length;
      if (!this.#pace || this.#unsyncedBytes < SYNC_BYTES) return;
      this.#unsyncedBytes = 0;
      await this.#pace.sync(() => this.#file.datasync());
    });
  }

  /** On disk, under its name. Returns the SHA-256 of all of it. */
  async finish(name: string): Promise<string> {
    await writing(this.#dir, async () => {
      await this.#file.sync();
      await this.#file.close();
      await rename(this.#path, join(this.#dir, name));
      await syncDir(this.#dir);
    });
    return this.#hash.digest('hex');
  }

  async discard(): Promise<void> {
    await this.#file.close().catch(() => {});
    await rm(this.#path, { force: true }).catch(() => {});
  }
}

/** @throws KF_BACKUP_WRITE_FAILED for what the file system refuses. */
async function writing<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof KeyfleetError) throw error;
    const full = (error as { readonly code?: string }).code === 'ENOSPC' ? '; make room, and the same command goes on' : '';
    throw new KeyfleetError('KF_BACKUP_WRITE_FAILED', `cannot write to ${dir}: ${messageOf(error)}${full}`, { cause: error });
  }
}

async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  await handle.sync().finally(() => handle.close());
}

function exists(dir: string, why: string): KeyfleetError {
  return new KeyfleetError('KF_BACKUP_EXISTS', `no backup was begun in ${dir}: ${why}; name another folder`);
}
