import { hash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';

// Keys are any bytes, file names are not. An export writes the keys that cannot be a path below its directory to
// `.keyfleet-keys/<SHA-256 of the key>`, and which is which to `.keyfleet-keys/index.ndjson`; an import reads the index and stores them under
// their keys again.

/** Names at the top of an export that begin so are ours. */
export const OUR_NAMES = '.keyfleet-';
export const ODD_FOLDER = `${OUR_NAMES}keys`;
const INDEX = 'index.ndjson';
const MAX_NAME_BYTES = 255;
/** Longest path that Linux takes, with its end mark, and on which other systems agree. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 4_096 : 1_024;

/** A key and the file below the directory that is its own; undefined: it cannot be a path. */
export interface Place {
  readonly key: Buffer;
  readonly path: Buffer | undefined;
}

/** Which keys can be paths below a directory whose own path has `rootBytes`. A key that is the folder of another one cannot. */
export function placesOf(keys: readonly Bytes[], rootBytes: number): Place[] {
  const texts = keys.map((key) => Buffer.from(key).toString('latin1'));
  const folders = new Set<string>();
  const fits = texts.map((text) => isPath(text, rootBytes));
  for (const [index, text] of texts.entries()) {
    if (!fits[index]) continue;
    for (let at = text.lastIndexOf('/'); at > 0 && !folders.has(text.slice(0, at)); at = text.lastIndexOf('/', at - 1))
      folders.add(text.slice(0, at));
  }
  return keys.map((key, index) => {
    const bytes = Buffer.from(key);
    return { key: bytes, path: fits[index] && !folders.has(texts[index]!) ? bytes : undefined };
  });
}

function isPath(text: string, rootBytes: number): boolean {
  const parts = text.split('/');
  const isName = (part: string): boolean => part !== '' && part !== '.' && part !== '..' && part.length <= MAX_NAME_BYTES;
  return parts.every(isName) && !text.includes('\0') && !text.startsWith(OUR_NAMES) && rootBytes + 1 + text.length < MAX_PATH_BYTES;
}

/** The file of a key that cannot be a path, below the directory. */
export function oddPath(key: Buffer): string {
  return `${ODD_FOLDER}/${hash('sha256', key, 'hex')}`;
}

/** Writes down which file of `.keyfleet-keys/` has which key. Keys that are text stand there as such too, for people. */
export async function writeOddIndex(dir: string, keys: readonly Buffer[]): Promise<void> {
  if (keys.length === 0) return;
  const lines = keys.map((key) => {
    const text = key.toString('utf8');
    const isText = Buffer.from(text, 'utf8').equals(key);
    return `${JSON.stringify({ file: hash('sha256', key, 'hex'), key64: key.toString('base64'), ...(isText ? { key: text } : {}) })}\n`;
  });
  const folder = join(dir, ODD_FOLDER);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${INDEX}.new`), lines.join(''));
  await rename(join(folder, `${INDEX}.new`), join(folder, INDEX));
}

/** The files of `.keyfleet-keys/` with their keys; none when the directory has no index. @throws KF_BAD_RECORD */
export async function readOddIndex(dir: string): Promise<{ readonly key: Buffer; readonly path: Buffer }[]> {
  const file = join(dir, ODD_FOLDER, INDEX);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new KeyfleetError('KF_USAGE', `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  return text.split('\n').flatMap((line, index) => {
    if (line === '') return [];
    const key = keyOfLine(line);
    if (key === undefined)
      throw new KeyfleetError('KF_BAD_RECORD', `${file}:${index + 1}: should be {"file":"<SHA-256 of the key>","key64":"…"}`);
    return [{ key, path: Buffer.from(oddPath(key)) }];
  });
}

function keyOfLine(line: string): Buffer | undefined {
  try {
    const { file, key64 } = JSON.parse(line) as { file?: unknown; key64?: unknown };
    if (typeof key64 !== 'string') return undefined;
    const key = Buffer.from(key64, 'base64');
    return file === hash('sha256', key, 'hex') ? key : undefined;
  } catch {
    return undefined;
  }
}
