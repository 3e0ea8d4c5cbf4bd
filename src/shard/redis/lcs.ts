import type { Bytes } from '../../base/bytes.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './error-replies.ts';
import type { ReadManyHandler, RedisQuery } from './handler.ts';
import { asciiBytes, parseInteger } from './integer.ts';
import { errorReply, type Reply, type TaggedReply } from './reply.ts';
import { isString } from './value.ts';
import { isWord } from './word.ts';

// LCS: the longest common subsequence of two strings, by the textbook table of lengths; of several, the one that Redis's walk back
// through the table finds. Time and memory go with the product of the lengths, so the table may not take more than a string may.

const NOT_STRINGS = errorReply('ERR The specified keys must contain string values');
const TOO_MUCH = errorReply('ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len');
const LEN_AND_IDX = errorReply('ERR If you want both the length and indexes, please just use IDX.');

const EMPTY: Bytes = new Uint8Array(0);
const CELL_BYTES = Uint32Array.BYTES_PER_ELEMENT;
const MATCHES = asciiBytes('matches');
const LEN = asciiBytes('len');

interface LcsOptions {
  isIdx: boolean;
  isLen: boolean;
  isWithMatchLen: boolean;
  minMatchLen: number;
}

/** `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`. */
export const lcs: ReadManyHandler = (ctx, args, settings) => {
  const a = ctx.open(args[1]!).value ?? EMPTY;
  const b = ctx.open(args[2]!).value ?? EMPTY;
  if (!isString(a) || !isString(b)) return NOT_STRINGS;
  const options = parseOptions(args);
  if ('kind' in options) return options;
  if (CELL_BYTES * (a.length + 1) * (b.length + 1) > settings.maxStringBytes) return TOO_MUCH;
  const table = buildTable(a, b);
  const length = table.at(-1)!;
  if (options.isIdx) {
    const matches = findRanges(a, b, table)
      .filter(({ aFrom, aTo }) => aTo - aFrom + 1 >= options.minMatchLen)
      .map(({ aFrom, aTo, bFrom, bTo }): Reply => {
        const ranges = [
          [aFrom, aTo],
          [bFrom, bTo],
        ];
        return options.isWithMatchLen ? [...ranges, aTo - aFrom + 1] : ranges;
      });
    return {
      kind: 'map',
      pairs: [
        [MATCHES, matches],
        [LEN, length],
      ],
    };
  }
  if (options.isLen) return length;
  const common = new Uint8Array(length);
  let at = length;
  walkBack(a, b, table, (i) => {
    common[--at] = a[i]!;
  });
  return common;
};

function parseOptions(args: RedisQuery): LcsOptions | TaggedReply {
  const options: LcsOptions = { isIdx: false, isLen: false, isWithMatchLen: false, minMatchLen: 0 };
  for (let i = 3; i < args.length; i++) {
    const word = args[i]!;
    if (isWord(word, 'IDX')) options.isIdx = true;
    else if (isWord(word, 'LEN')) options.isLen = true;
    else if (isWord(word, 'WITHMATCHLEN')) options.isWithMatchLen = true;
    else if (isWord(word, 'MINMATCHLEN') && i + 1 < args.length) {
      const least = parseInteger(args[++i]!);
      if (least === undefined) return NOT_AN_INTEGER;
      options.minMatchLen = Math.max(0, Number(least));
    } else return SYNTAX_ERROR;
  }
  return options.isIdx && options.isLen ? LEN_AND_IDX : options;
}

/** `table[i * (b.length + 1) + j]`: the length for the first `i` bytes of `a` and the first `j` of `b`. */
function buildTable(a: Bytes, b: Bytes): Uint32Array {
  const width = b.length + 1;
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = 1; i <= a.length; i++) {
    const row = i * width;
    const above = row - width;
    const byte = a[i - 1]!;
    for (let j = 1; j <= b.length; j++)
      table[row + j] = byte === b[j - 1] ? table[above + j - 1]! + 1 : Math.max(table[above + j]!, table[row + j - 1]!);
  }
  return table;
}

/** Calls `visit` for each pair of equal bytes of the subsequence, from the last to the first. */
function walkBack(a: Bytes, b: Bytes, table: Uint32Array, visit: (i: number, j: number) => void): void {
  const width = b.length + 1;
  let i = a.length;
  let j = b.length;
  while (i > 0 && j > 0) {
    if (a[i - 1] === b[j - 1]) {
      i--;
      j--;
      visit(i, j);
    } else if (table[(i - 1) * width + j]! > table[i * width + j - 1]!) i--;
    else j--;
  }
}

interface Range {
  aFrom: number;
  readonly aTo: number;
  bFrom: number;
  readonly bTo: number;
}

/** The unbroken runs of the subsequence, from the last to the first. */
function findRanges(a: Bytes, b: Bytes, table: Uint32Array): Range[] {
  const ranges: Range[] = [];
  walkBack(a, b, table, (i, j) => {
    const range = ranges.at(-1);
    if (range !== undefined && range.aFrom === i + 1 && range.bFrom === j + 1) {
      range.aFrom = i;
      range.bFrom = j;
    } else ranges.push({ aFrom: i, aTo: i, bFrom: j, bTo: j });
  });
  return ranges;
}
