import { describe, expect, test } from 'vitest';
import { packFrame, packResults, unpackFrames, unpackResults, type WireValue } from './batch-wire.ts';

const sha256 = 'ab'.repeat(32);
const value = (text: string): WireValue => ({ body: Buffer.from(text), contentType: 'text/plain', sha256 });
const frames: (readonly WireValue[])[] = [
  [value('one'), undefined, { error: 'KF_VALUE_DAMAGED', message: 'the bytes have changed' }],
  [],
  [value(''), value('x'.repeat(70_000))],
];

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Buffer, size = bytes.length): Promise<(readonly WireValue[])[]> {
  const found: (readonly WireValue[])[] = [];
  for await (const values of unpackFrames(inPieces(bytes, size))) found.push(values);
  return found;
}

describe('frames of values', () => {
  const whole = Buffer.concat(frames.map((values) => packFrame(values)));

  test('come back, however the stream is cut', async () => {
    for (const size of [1, 2, 3, 5, 1_000, 65_536, whole.length]) expect(await read(whole, size)).toEqual(frames);
    expect(await read(Buffer.alloc(0))).toEqual([]);
  });

  test('that break off, or are none, are errors', async () => {
    for (const length of [1, 4, whole.length - 1])
      await expect(read(whole.subarray(0, length), 7)).rejects.toMatchObject({ code: 'KF_VOLUME_IO' });
    await expect(read(Buffer.from('HTTP/1.1 200 OK'))).rejects.toMatchObject({ code: 'KF_VOLUME_IO' });
    await expect(read(Buffer.from([0, 0, 0, 2, 0xc1, 0xc1]))).rejects.toMatchObject({ code: 'KF_BAD_REQUEST' });
  });
});

test('results of a pull come back in their order', () => {
  const results = [{ sha256 }, { code: 'absent', message: 'the source has no such value' }, { sha256: '00'.repeat(32) }];
  expect(unpackResults(packResults(results))).toEqual(results);
});
