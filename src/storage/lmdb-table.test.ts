import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OPERATION_HEADER_BYTES, PUT, writeOperation } from './journal-format.ts';
import { LmdbTable } from './lmdb-table.ts';
import { Memtable } from './memtable.ts';

const VALUE = Buffer.alloc(20, 1);

function filled(keyCount: number): Memtable {
  const memtable = new Memtable(1);
  let used = 0;
  memtable.chunks.push(Buffer.alloc(keyCount * (OPERATION_HEADER_BYTES + 10 + VALUE.length)));
  for (let n = 0; n < keyCount; n++) {
    const key = Buffer.from(`key:${String(n).padStart(6, '0')}`);
    writeOperation(memtable.chunks[0]!, used, PUT, key, VALUE);
    memtable.set(used);
    used += OPERATION_HEADER_BYTES + key.length + VALUE.length;
  }
  return memtable;
}

test('a flush lets the event loop turn after each slice, however fast LMDB is', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'keyfleet-table-'));
  const table = LmdbTable.open(dir);
  let turns = 0;
  let isTurning = true;
  const turn = (): void => {
    turns++;
    if (isTurning) setImmediate(turn);
  };
  setImmediate(turn);
  const turnsAtSlices: number[] = [];
  const isWhole = await table.flush(filled(60_000), () => {
    turnsAtSlices.push(turns);
    return true;
  });
  isTurning = false;
  expect(isWhole).toBe(true);
  expect(turnsAtSlices.length).toBeGreaterThan(100);
  expect(turnsAtSlices.filter((at, i) => i > 0 && at === turnsAtSlices[i - 1])).toEqual([]);
  expect(table.get('key:059999')).toEqual(VALUE);
  await table.close();
  rmSync(dir, { recursive: true, force: true });
});
