import { describe, expect, test } from 'vitest';
import { EntryWriter, packResults, readEntries, unpackResults, type WireValue } from './batch-wire.ts';

const values: WireValue[] = [
  Buffer.from('one'),
  undefined,
  { code: 'KF_VOLUME_IO', message: 'the volume cannot be read' },
  Buffer.from(''),
  Buffer.alloc(300_000, 'x'),
  undefined,
];

function write(writer: EntryWriter, value: WireValue): void {
  if (value === undefined) writer.absent();
  else if (Buffer.isBuffer(value)) writer.file((room, at) => value.copy(room, 0, at));
  else writer.error(value);
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Values with their bytes as text, which is compared many times as fast. */
const readable = (some: readonly WireValue[]): unknown[] =>
  some.map((value) => (Buffer.isBuffer(value) ? value.toString('latin1') : value));

async function read(bytes: Buffer, size = bytes.length): Promise<unknown[]> {
  const found: WireValue[] = [];
  for await (const some of readEntries(inPieces(bytes, size))) found.push(...some);
  return readable(found);
}

describe('a stream of values', () => {
  const writer = new EntryWriter();
  const written = (some: readonly WireValue[]): Buffer => {
    for (const value of some) write(writer, value);
    return writer.take();
  };
  const whole = written(values);

  test('comes back, however it is cut', async () => {
    for (const size of [3, 5, 1_000, 65_536, whole.length]) expect(await read(whole, size)).toEqual(readable(values));
    expect(await read(written(values.slice(0, 4)), 1)).toEqual(readable(values.slice(0, 4)));
    expect(await read(Buffer.alloc(0))).toEqual([]);
  });

  test('that breaks off, or is none, is an error', async () => {
    for (const length of [1, 4, 7, whole.length - 1])
      await expect(read(whole.subarray(0, length), 70_000)).rejects.toMatchObject({ code: 'KF_VOLUME_IO' });
    await expect(read(Buffer.from('HTTP/1.1 200 OK'))).rejects.toMatchObject({ code: 'KF_VOLUME_IO' });
    await expect(read(Buffer.from([2, 0, 0, 0, 2, 0xc1, 0xc1]))).rejects.toMatchObject({ code: 'KF_BAD_REQUEST' });
  });

  test('does not take a file that is too large for a batch, nor one that cannot be read, and goes on', async () => {
    expect(() => writer.file((room) => room.length)).toThrow(expect.objectContaining({ code: 'KF_VALUE_TOO_LARGE' }));
    expect(() =>
      writer.file(() => {
        throw new Error('EIO');
      }),
    ).toThrow('EIO');
    expect(writer.length).toBe(0);
    expect(await read(written([Buffer.from('next')]))).toEqual(['next']);
  });
});

test('results of a pull come back in their order', () => {
  const results = [{ sha256: 'ab'.repeat(32) }, { code: 'absent', message: 'the source has no such value' }, { sha256: '00'.repeat(32) }];
  expect(unpackResults(packResults(results))).toEqual(results);
});
