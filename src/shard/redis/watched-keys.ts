import { type Bytes, equalBytes, utf8 } from '../../base/bytes.ts';
import { ChainHash, ZERO_HASH } from '../chain-hash.ts';
import type { CellReader, ManyContext } from '../value-module.ts';
import type { CommandArgs } from './command-table.ts';
import { partsOf } from './door-collections.ts';
import type { ReadHandler } from './handler.ts';
import { isString, type RedisValue } from './value.ts';

// WATCH where the key may be on another node and change there before anybody could tell of it: WATCH takes a print of what the key holds, EXEC
// brings it along, and the shard compares as it carries the transaction out. Costs as much as reading the value, at both.

const PRINT = utf8('\0print');
const hash = new ChainHash();

/** What a key held when it was watched. */
export interface WatchedKey {
  readonly key: Bytes;
  readonly print: Bytes;
}

/** Answers the print of what the key holds, its time to live included. */
export function printQuery(key: Bytes): CommandArgs {
  return [PRINT, key];
}

function printOf(value: RedisValue | undefined, expireAtMs: number | undefined, cells: CellReader): Bytes {
  if (value === undefined) return ZERO_HASH;
  hash.start(ZERO_HASH);
  hash.add(utf8(`${isString(value) ? 'string' : value.kind} ${expireAtMs ?? ''}\0`));
  for (const part of isString(value) ? [value] : partsOf(cells, value)) {
    hash.addU32(part.length);
    hash.add(part);
  }
  return hash.finish();
}

/** Whether all keys hold what they held. */
export function areUnchanged(ctx: ManyContext<RedisValue>, watched: readonly WatchedKey[]): boolean {
  return watched.every(({ key, print }) => {
    const { value, expireAtMs, cells } = ctx.open(key);
    return equalBytes(print, printOf(value, expireAtMs, cells));
  });
}

export const PRINT_READS: ReadonlyMap<string, ReadHandler> = new Map([
  ['\0print', (ctx, value) => printOf(value, ctx.expireAtMs, ctx.cells)],
]);
