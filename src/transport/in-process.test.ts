import { describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { InProcessNetwork } from './in-process.ts';
import { transportConformance } from './transport.conformance.ts';
import { decodeAnswer, decodeRequest, encodeAnswer, encodeRequest } from './wire.ts';

transportConformance('in one process', async () => {
  const network = new InProcessNetwork();
  return (self, limits) => network.join(self, limits);
});

describe('what nodes send each other', () => {
  const request = { from: 'a', method: 'put', payload: utf8('x'), timeoutMs: 70_000 };

  test('is read as it was written, and cut short anywhere it is no other request', () => {
    const wire = encodeRequest(request);
    expect(decodeRequest(wire)).toEqual(request);
    for (let length = 0; length < wire.length - 1; length++) expect(decodeRequest(wire.slice(0, length))).toBeUndefined();
  });

  test('is refused from a release that is not known', () => {
    expect(decodeRequest(Uint8Array.of(2, ...encodeRequest(request).slice(1)))).toBeUndefined();
    expect(() => decodeAnswer(Uint8Array.of(2, ...encodeAnswer(utf8('x')).slice(1)))).toThrow('this release');
    expect(() => decodeAnswer(new Uint8Array(0))).toThrow('this release');
  });
});
