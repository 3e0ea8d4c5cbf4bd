// What the writers of the kill -9 loop do, known in advance: operation `n` of writer `w` is a function of both, so that whoever looks at
// the store afterwards knows what must be there.

export const WRITERS = 48;
const KEYS_OF_WRITER = 40;

export interface Operation {
  readonly key: string;
  /** Undefined: delete it. */
  readonly value: Uint8Array | undefined;
}

export function operation(writer: number, n: number): Operation {
  const chance = mix(writer * 0x1_0001 + n);
  const key = `writer ${writer} key ${chance % KEYS_OF_WRITER}`;
  if (chance % 7 === 0) return { key, value: undefined };
  // Mostly small, now and then so large that it fills a journal segment of the test.
  const length = chance % 97 === 0 ? 150_000 : (chance >>> 8) % 700;
  const value = new Uint8Array(length + 8);
  let word = mix(n ^ 0x5bd1e995 ^ writer);
  for (let i = 8; i < value.length; i++) {
    value[i] = word;
    word = (word >>> 1) ^ (word & 1 ? 0xedb88320 : 0);
  }
  new DataView(value.buffer).setUint32(0, writer);
  new DataView(value.buffer).setUint32(4, n);
  return { key, value };
}

function mix(seed: number): number {
  let h = Math.imul(seed ^ (seed >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
