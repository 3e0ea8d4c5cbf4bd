import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, compareBytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { type BackupItem, encodedItems } from '../../shard/backup-items.ts';
import { positionScheme } from '../../shard/position-scheme.ts';
import { type BackedUpKeyspace, type BackupManifest, type BackupPart, damaged, partBytes, readManifest } from './backup-folder.ts';
import { rangePieces } from './range-file.ts';

/** A backup that was read from beginning to end. */
export interface VerifiedBackup {
  readonly manifest: BackupManifest;
  /** The longest item of each keyspace, by name: what a store must have room for in an entry. */
  readonly longestItemBytes: ReadonlyMap<string, number>;
}

/**
 * Reads all of the keyspaces `names` (default: all) of the backup in `dir`, and sees that it is what was written: the SHA-256 of each file, that keys are where
 * they belong, in order and none twice, and as many as were counted. Holds one block at a time.
 * @throws KF_BACKUP_DAMAGED, and as readManifest; KF_INTERRUPTED; KF_NO_KEYSPACE.
 */
export async function verifyBackup(
  dir: string,
  options: {
    readonly keyspaces?: readonly string[] | undefined;
    readonly signal?: AbortSignal | undefined;
    /** Told of bytes read. */
    readonly onRead?: ((bytes: number) => void) | undefined;
  } = {},
): Promise<VerifiedBackup> {
  const manifest = await readManifest(dir);
  const longestItemBytes = new Map<string, number>();
  const keyspaces = keyspacesOf(manifest, options.keyspaces);
  // What is missing or cut short is seen before much is read.
  for (const { parts } of keyspaces) for (const part of parts) await verifyLength(dir, part);
  for (const keyspace of keyspaces) {
    let longest = 0;
    for (const part of keyspace.parts) longest = Math.max(longest, await verifyPart(dir, keyspace, part, options));
    longestItemBytes.set(keyspace.name, longest);
  }
  return { manifest, longestItemBytes };
}

/** Those of these names; default: all. @throws KF_NO_KEYSPACE. */
export function keyspacesOf({ keyspaces }: BackupManifest, names: readonly string[] | undefined): readonly BackedUpKeyspace[] {
  const stranger = names?.find((name) => !keyspaces.some((keyspace) => keyspace.name === name));
  if (stranger === undefined) return keyspaces.filter(({ name }) => names?.includes(name) ?? true);
  throw new KeyfleetError(
    'KF_NO_KEYSPACE',
    `the backup has no keyspace ${stranger}; it has ${keyspaces.map(({ name }) => name).join(', ')}`,
  );
}

async function verifyLength(dir: string, { file, bytes }: BackupPart): Promise<void> {
  const { size } = await stat(join(dir, file)).catch((error: unknown) => {
    throw damaged(dir, `${file} cannot be read: ${messageOf(error)}`);
  });
  if (size !== bytes) throw damaged(dir, `${file} has ${size} bytes; ${bytes} were written`);
}

/** Returns the length of its longest item. */
async function verifyPart(
  dir: string,
  { scheme: schemeName }: BackedUpKeyspace,
  part: BackupPart,
  { signal, onRead }: { readonly signal?: AbortSignal | undefined; readonly onRead?: ((bytes: number) => void) | undefined },
): Promise<number> {
  const scheme = positionScheme(schemeName);
  const hash = createHash('sha256');
  let [bytes, records, sessions, longest] = [0, 0, 0, 0];
  let last: { readonly position: number; readonly key: Bytes; readonly hasCells: boolean } | undefined;
  const look = (item: BackupItem, encoded: Bytes): void => {
    longest = Math.max(longest, encoded.length);
    const position = item.kind === 'session' ? item.place : scheme.position(item.key);
    if (position < part.from || position >= part.to) throw damaged(dir, `${part.file}: position ${position} does not belong there`);
    if (item.kind === 'session') {
      sessions++;
    } else if (item.kind === 'cells') {
      if (!last?.hasCells || compareBytes(last.key, item.key) !== 0) throw damaged(dir, `${part.file}: cells without their record`);
    } else {
      records++;
      const isNext = !last || position > last.position || (position === last.position && compareBytes(item.key, last.key) !== 0);
      if (!isNext) throw damaged(dir, `${part.file}: a key stands behind one that belongs behind it`);
      last = { position, key: item.key, hasCells: item.hasCells };
    }
  };
  try {
    const chunks = partBytes(dir, part, (chunk) => {
      if (signal?.aborted) throw new KeyfleetError('KF_INTERRUPTED', 'interrupted before all of the backup had been read');
      hash.update(chunk);
      bytes += chunk.length;
      onRead?.(chunk.length);
    });
    for await (const piece of rangePieces(chunks))
      if (piece.kind === 'block') for (const { item, encoded } of encodedItems(piece.block.bytes)) look(item, encoded);
  } catch (error) {
    if (!(error instanceof KeyfleetError) || !['KF_BACKUP_DAMAGED', 'KF_BACKUP_CUT_SHORT'].includes(error.code)) throw error;
    throw error.message.startsWith(dir) ? error : damaged(dir, `${part.file}: ${error.message}`);
  }
  if (bytes !== part.bytes || hash.digest('hex') !== part.sha256) throw damaged(dir, `${part.file} is not what was written`);
  if (records !== part.records || sessions !== part.sessions)
    throw damaged(dir, `${part.file} has ${records} records and ${sessions} sessions, not ${part.records} and ${part.sessions}`);
  return longest;
}
