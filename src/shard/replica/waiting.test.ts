import { describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../base/errors.ts';
import { ZERO_HASH } from '../chain-hash.ts';
import { counterModule } from '../counter.ts';
import type { ReplySink } from '../reply-sink.ts';
import type { PendingRead } from './host.ts';
import { Pipeline } from './pipeline.ts';
import { Waiting } from './waiting.ts';

const TAIL = { seq: 7, hash: ZERO_HASH, nowMs: 0 };
const late = (): KeyfleetError => new KeyfleetError('KF_NOT_LEADER', 'too late', { retryable: true });

/** Reads and commands of one pipeline, and what they were told. */
function stage() {
  const told: string[] = [];
  const sink: ReplySink<never> = { settled: () => {}, failed: (token, error) => told.push(`${token} ${(error as KeyfleetError).code}`) };
  const pipeline = new Pipeline(counterModule.commandCodec);
  const waiting = new Waiting<unknown>();
  const read = (token: number, deadlineMs: number): PendingRead => ({ key: ZERO_HASH, query: null, many: false, sink, token, deadlineMs });
  const send = (reads: readonly PendingRead[] = [], kind?: 'claim') => {
    pipeline.restart();
    const proposal = pipeline.propose({ applied: TAIL, epoch: 1, leader: 'a', wallMs: 0, sentMs: 0, reads, ...(kind ? { kind } : {}) });
    proposal.fate = 'unknown';
    return proposal;
  };
  return { told, pipeline, waiting, read, send };
}

describe('a read that waits for an entry on its way', () => {
  test('is told at its time that it came to nothing, once, though nobody knows of the entry', () => {
    const { told, pipeline, waiting, read, send } = stage();
    const proposal = send([read(1, 100), read(2, 200)]);
    waiting.expire(99, late, pipeline.proposals);
    expect(told).toEqual([]);
    waiting.expire(100, late, pipeline.proposals);
    waiting.expire(150, late, pipeline.proposals);
    expect(told).toEqual(['1 KF_NOT_LEADER']);
    expect(proposal.reads.map(({ token }) => token)).toEqual([2]);
  });
});

describe('what was sent to a log that takes nothing', () => {
  test('is remembered while somebody waits for it, and of the rest the newest', () => {
    const { pipeline, read, send } = stage();
    const awaited = send([read(1, 100)]);
    for (let i = 0; i < 1_000; i++) send();
    const newest = send([], 'claim');
    expect(pipeline.proposals.length).toBeLessThan(100);
    expect(pipeline.proposals[0]).toBe(awaited);
    expect(pipeline.proposals.at(-1)).toBe(newest);
  });
});
