import fs from 'node:fs';
import { endianness } from 'node:os';
import { MIB } from '../base/units.ts';
import { damaged } from './journal-replay.ts';

// LMDB maps its file into memory and believes what it reads there: over a file that is cut short, or does not begin as it wrote it, it takes
// the whole process down with a signal. So its first two pages are looked at before it is opened.
//
//   page 0, page 1    header, flags at 18 │ at 24: magic │ version │ address 8 │ map size 8 │ tree of free pages │ main tree │ last page 8 │ transaction 8
//   a tree, 48 bytes  page size 4 │ flags │ … │ number of its root page at 40
//
// Both pages are always there, and the one with the higher transaction counts. This is the layout of LMDB where a pointer has 8 bytes.

const META_AT = 24;
const MAGIC = 0xbeef_c0de;
const FLAGS_AT = 18;
const IS_META = 8;
const PAGE_BYTES_AT = META_AT + 24;
const ROOTS_AT = [META_AT + 64, META_AT + 112] as const;
const LAST_PAGE_AT = META_AT + 120;
const TRANSACTION_AT = META_AT + 128;
const META_END = META_AT + 136;
/** The root of a tree without pages. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const PAGE_SIZES: readonly number[] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536];
/** Pages at the end of the file that were given back in the transaction that took them were never written: so much may be missing. */
const UNWRITTEN_BYTES = 64 * MIB;

/**
 * Looks whether LMDB can open the file; one that is not there, or empty, it will make. Damage further inside is not found. Two reads.
 * @throws KF_STORAGE_DAMAGED, naming file and offset, and what the system says.
 */
export function checkLmdbFile(path: string): void {
  if (!['x64', 'arm64'].includes(process.arch) || endianness() !== 'LE') return;
  let fd: number;
  try {
    fd = fs.openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    const fileBytes = fs.fstatSync(fd).size;
    if (fileBytes > 0) check(path, fd, fileBytes);
  } finally {
    fs.closeSync(fd);
  }
}

function check(path: string, fd: number, fileBytes: number): void {
  const first = readMeta(path, fd, 0);
  const pageBytes = first.readUInt32LE(PAGE_BYTES_AT);
  if (!PAGE_SIZES.includes(pageBytes)) throw damaged(path, PAGE_BYTES_AT, `${pageBytes} is no size of a page`);
  const second = readMeta(path, fd, pageBytes);
  const newest = first.readBigUInt64LE(TRANSACTION_AT) > second.readBigUInt64LE(TRANSACTION_AT) ? first : second;
  const present = BigInt(Math.floor(fileBytes / pageBytes));
  for (const at of ROOTS_AT) {
    const root = newest.readBigUInt64LE(at);
    if (root !== NO_PAGE && root >= present)
      throw damaged(path, fileBytes, `it ends there, and page ${root} of ${pageBytes} bytes is missing`);
  }
  const lastPage = newest.readBigUInt64LE(LAST_PAGE_AT);
  if (lastPage >= present + BigInt(UNWRITTEN_BYTES / pageBytes))
    throw damaged(path, fileBytes, `it ends there, and had pages of ${pageBytes} bytes up to number ${lastPage}`);
}

function readMeta(path: string, fd: number, offset: number): Buffer {
  const meta = Buffer.alloc(META_END);
  const read = fs.readSync(fd, meta, 0, META_END, offset);
  if (read < META_END) throw damaged(path, offset + read, 'it ends there, within its first two pages');
  if (meta.readUInt32LE(META_AT) !== MAGIC || (meta.readUInt16LE(FLAGS_AT) & IS_META) === 0)
    throw damaged(path, offset, 'no page of LMDB begins there');
  return meta;
}
