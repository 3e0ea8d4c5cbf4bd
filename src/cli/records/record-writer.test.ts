import { expect, test } from 'vitest';
import { readInput } from './input-records.ts';
import { recordWriter } from './record-writer.ts';

const record = (key: string | Buffer, value: string | Buffer, ttlMs?: number) => ({
  key: Buffer.from(key as string),
  value: Buffer.from(value as string),
  ttlMs,
});

test.each(['ndjson', 'tsv', 'csv'] as const)('%s: what is written is read back', async (format) => {
  const records = [record('a', 'plain'), record('b', 'with "quotes", commas'), record('', '', 60_000), record('ü', '\u2028 {"x":1}')];
  if (format !== 'tsv') records.push(record('lines', 'a\r\nb\tc'));
  if (format === 'ndjson') records.push(record(Buffer.from([0, 255]), Buffer.from([0xc3, 0x28])));
  const writer = recordWriter(format, { wholeRecords: false });
  const bytes = Buffer.concat([Buffer.from(writer.head), Buffer.from(writer.lines(records) as string)]);
  const read = [];
  for await (const { items } of readInput([bytes] as unknown as AsyncIterable<Buffer>, {
    format,
    keyField: undefined,
    valueField: undefined,
    hasHeader: true,
  })) {
    for (const item of items) read.push('record' in item ? item.record : item);
  }
  expect(read).toEqual(records);
});

test('whole records are lines as they are, and a value with a line feed is none: KF_NOT_WRITABLE', () => {
  const writer = recordWriter('ndjson', { wholeRecords: true });
  expect(Buffer.from(writer.lines([record('a', '{"x":1}\r'), record('b', Buffer.from([255]))]))).toEqual(
    Buffer.from('{"x":1}\r\n\u00ff\n', 'latin1'),
  );
  expect(() => writer.lines([record('key', 'a\nb')])).toThrow(/key "key": .*line feed/);
});

test.each([
  ['tsv', 'a\tb'],
  ['tsv', 'a\nb'],
  ['tsv', Buffer.from([255])],
  ['csv', Buffer.from([255])],
] as const)('%s refuses what it cannot write: KF_NOT_WRITABLE', (format, value) => {
  expect(() => recordWriter(format, { wholeRecords: false }).lines([record('k', value)])).toThrow(
    expect.objectContaining({ code: 'KF_NOT_WRITABLE' }),
  );
});
