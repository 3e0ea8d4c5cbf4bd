import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import * as keyfleet from '../../src/partition/index.ts';
import { root } from '../house/tree.ts';

/** A bundle for browsers, run in a realm that has what browsers and the language have, and nothing of Node. */
async function bundled(entry: string): Promise<Record<string, unknown>> {
  const { outputFiles } = await build({
    entryPoints: [`${root}/${entry}`],
    bundle: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'bundle',
    target: 'es2022',
    write: false,
    logLevel: 'silent',
  });
  const context = createContext({ TextEncoder, TextDecoder });
  runInContext(outputFiles[0]!.text, context);
  return runInContext('bundle', context) as Record<string, unknown>;
}

const keys = ['', 'user:1', '{tag}x', 'ключ/日本', '\ud800', 'x'.repeat(2_000), Uint8Array.of(0, 255, 128)];

describe('a bundle for browsers', () => {
  test('of keyfleet places keys as Node does, bytes of another realm included', async () => {
    const bundle = (await bundled('src/partition/index.ts')) as typeof keyfleet;
    const nodes = Array.from({ length: 9 }, (_, i) => ({ id: `n${i}`, weight: 1 + (i % 3), zone: `z${i % 2}` }));
    const answers = (library: typeof keyfleet): unknown[] =>
      keys.flatMap((key) => [
        ...new library.Rendezvous(nodes).replicas(key, 3).map((node) => node.id),
        new library.Ketama(nodes).owner(key).id,
        new library.Maglev(nodes, { tableSize: 1_009 }).owner(key).id,
        new library.JumpHash(50).owner(key),
        new library.JumpBackAnchorHash(50).owner(key),
        library.redisSlot(key),
        ...library.OWN_HASHERS.map((hasher) => library.hashHex(hasher.name, key)),
      ]);
    expect(answers(bundle)).toEqual(answers(keyfleet));
  });

  test('of keyfleet/hashes knows SHA and BLAKE', async () => {
    const bundle = (await bundled('src/partition/hash/all-hashers.ts')) as typeof import('../../src/partition/hash/all-hashers.ts');
    expect(bundle.hashHex('sha256', '')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(bundle.hashHex('blake3', '')).toBe('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262');
  });
});
