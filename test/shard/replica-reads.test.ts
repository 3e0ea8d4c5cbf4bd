import { expect, test } from 'vitest';
import type { Bytes } from '../../src/base/bytes.ts';
import { counterModule } from '../../src/shard/counter.ts';
import type { LogRecord, ReplicaHost } from '../../src/shard/replica/host.ts';
import { Pipeline } from '../../src/shard/replica/pipeline.ts';
import { Replica } from '../../src/shard/replica/replica.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { newShardState } from '../../src/shard/shard-state.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

// A replica whose log forgets while it is read.

const NOW = { monoMs: 1_000, wallMs: 1_700_000_000_000 };
const positionOf = (_key: Bytes): number => 0;

/** A replica that has begun to read, what it asks for, and the first entries of its log. */
function reader() {
  const asked: string[] = [];
  const host = {
    read: (fromSeq: number) => asked.push(`read ${fromSeq}`),
    wantSnapshot: () => asked.push('snapshot'),
    wrote: () => 1,
    ran: () => {},
    leaderChanged: () => {},
    caughtUp: () => {},
    wantTurnEnd: () => {},
  } as unknown as ReplicaHost;
  const state = { ...newShardState({ id: 1, range: { from: 0, to: 0x1_0000_0000 }, table: 4, leader: '' }), epoch: 0 };
  const machine = new ShardMachine({ storage: new MemoryStorage(), module: counterModule, positionOf, state, maxValueBytes: 1_024 });
  const replica = new Replica({ self: 'b', rank: 1, machine, module: counterModule, positionOf, host, now: NOW });
  const pipeline = new Pipeline(counterModule.commandCodec);
  const applied = { seq: 0, hash: state.hash, nowMs: 0 };
  const log = [1, 2, 3].map((seq): LogRecord => {
    const claim = seq === 1 ? { kind: 'claim' as const } : {};
    const { bytes } = pipeline.propose({ applied, epoch: 1, leader: 'a', wallMs: NOW.wallMs, sentMs: 0, ...claim });
    return { seq, entry: bytes };
  });
  replica.tick(NOW);
  return { replica, asked, log };
}

test('what the log forgot while it was read, and was run meanwhile, is not lacking: the rest is read', () => {
  const { replica, asked, log } = reader();
  replica.entriesRead(log.slice(0, 2), NOW);
  replica.readEnded('truncated', NOW);
  expect(asked).toEqual(['read 1', 'read 3']);
  replica.entriesRead(log.slice(2), NOW);
  replica.readEnded('reached', NOW);
  expect([replica.state.applied, asked]).toEqual([3, ['read 1', 'read 3']]);
});

test('what the log forgot and was not run must come from another replica', () => {
  const { replica, asked, log } = reader();
  replica.readEnded('truncated', NOW);
  expect(asked).toEqual(['read 1', 'snapshot']);
  const other = reader();
  other.replica.entriesRead(log.slice(0, 2), NOW);
  other.replica.readEnded('truncated', NOW);
  other.replica.readEnded('truncated', NOW);
  expect(other.asked).toEqual(['read 1', 'read 3', 'snapshot']);
});
