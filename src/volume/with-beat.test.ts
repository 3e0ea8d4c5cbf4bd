import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { withBeat } from './with-beat.ts';

async function* slowly(pauses: readonly number[], ended: () => void): AsyncGenerator<string, void> {
  try {
    for (const [index, ms] of pauses.entries()) {
      await sleep(ms);
      yield `piece ${index}`;
    }
  } finally {
    ended();
  }
}

describe('a source with a beat', () => {
  test('gives everything in order, and the beat while it is silent', async () => {
    const got: string[] = [];
    for await (const piece of withBeat(
      slowly([0, 200, 0], () => {}),
      '.',
      50,
    ))
      got.push(piece);
    expect(got.filter((piece) => piece !== '.')).toEqual(['piece 0', 'piece 1', 'piece 2']);
    expect(got.slice(1, -2).filter((piece) => piece === '.').length).toBeGreaterThan(0);
  });

  test('hands on an error, and ends the source when its reader leaves', async () => {
    const failing = (async function* () {
      yield 'one';
      throw new Error('broken');
    })();
    await expect(async () => {
      for await (const _ of withBeat(failing, '.', 50)) void _;
    }).rejects.toThrow('broken');
    let ended = false;
    for await (const _ of withBeat(
      slowly([0, 10, 10], () => {
        ended = true;
      }),
      '.',
      50,
    ))
      break;
    await sleep(60);
    expect(ended).toBe(true);
  });
});
