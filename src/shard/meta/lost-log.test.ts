import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { basisOfLostLog, type LostLogSight, type LostLogVerdict, type StoppedReplica } from './lost-log.ts';

const hash = (seq: number): string => seq.toString(16).padStart(32, '0');
const stopped = (seq: number | undefined, more: Partial<StoppedReplica> = {}): StoppedReplica => ({
  shard: 7,
  generation: 2,
  ledByLease: false,
  ...(seq === undefined ? {} : { at: { generation: 2, seq, hash: hash(seq) } }),
  ...more,
});
const LOST = { sinceMs: 0 } as const;
const REPLICAS = ['a', 'b', 'c'];

interface World {
  readonly said: Readonly<Record<string, StoppedReplica>>;
  /** Those that are away; all others are up. */
  readonly down?: readonly string[];
  readonly left?: readonly string[];
  readonly acceptsLoss?: true;
}

function verdict({ said, down = [], left = [], acceptsLoss }: World): LostLogVerdict {
  const sight: LostLogSight = {
    stopped: (node) => said[node],
    nodes: Object.keys(said),
    isLive: (node) => !down.includes(node) && !left.includes(node),
    hasLeft: (node) => left.includes(node),
  };
  return basisOfLostLog({ replicas: REPLICAS, lost: acceptsLoss ? { ...LOST, acceptsLoss } : LOST }, sight);
}

const basis = (seq: number): LostLogVerdict => ({ kind: 'basis', basis: { seq, hash: hash(seq) } });

describe('the entry behind which a lost log begins anew', () => {
  test('is the last one of who has come furthest, once all replicas have said where they are', () => {
    expect(verdict({ said: { a: stopped(5), b: stopped(9) } })).toEqual({ kind: 'waits', nodes: ['c'] });
    expect(verdict({ said: { a: stopped(5), b: stopped(9), c: stopped(7) } })).toEqual(basis(9));
    expect(verdict({ said: { a: stopped(5), b: stopped(9), c: stopped(undefined) } })).toEqual(basis(9));
  });

  test('waits for who is away, but for one that will not come back', () => {
    expect(verdict({ said: { a: stopped(5), b: stopped(9) }, down: ['c'] })).toEqual({ kind: 'waits', nodes: ['c'] });
    expect(verdict({ said: { a: stopped(5), b: stopped(9) }, left: ['c'] })).toEqual(basis(9));
  });

  test('waits for nobody who is away when the leader by lease has spoken, or somebody accepts the loss; for who is up it does', () => {
    const led = { a: stopped(5, { ledByLease: true }) };
    expect(verdict({ said: led, down: ['b', 'c'] })).toEqual(basis(5));
    expect(verdict({ said: led, down: ['b'] })).toEqual({ kind: 'waits', nodes: ['c'] });
    // A follower may have read what its leader had not yet heard to be in the log.
    expect(verdict({ said: { ...led, c: stopped(6) }, down: ['b'] })).toEqual(basis(6));
    expect(verdict({ said: { a: stopped(5) }, down: ['b', 'c'], acceptsLoss: true })).toEqual(basis(5));
  });

  test('waits for all, whoever led, when somebody has proof that the log had forgotten entries: its last leader may have had less', () => {
    const said = { a: stopped(5, { ledByLease: true }), b: stopped(7, { hasForgotten: true }) };
    expect(verdict({ said, down: ['c'] })).toEqual({ kind: 'waits', nodes: ['c'] });
    expect(verdict({ said: { ...said, c: stopped(9) } })).toEqual(basis(9));
    expect(verdict({ said, down: ['c'], acceptsLoss: true })).toEqual(basis(7));
  });

  test('is taken from whoever has it: a node that is being brought the shard, or was to give it up', () => {
    expect(verdict({ said: { a: stopped(5), b: stopped(5), c: stopped(4), d: stopped(6) } })).toEqual(basis(6));
  });

  test('of a replica that never heard of the last generation counts less than any of that', () => {
    const older = stopped(undefined, { at: { generation: 1, seq: 12, hash: hash(12) } });
    expect(verdict({ said: { a: older, b: stopped(9), c: stopped(8) } })).toEqual(basis(9));
  });

  test('is none when nobody has a sound copy', () => {
    expect(verdict({ said: { a: stopped(undefined), b: stopped(undefined), c: stopped(undefined) } })).toEqual({ kind: 'nothing' });
  });

  test('has all that was acknowledged, whoever led, whatever else is away; and the order of the answers does not matter', () => {
    const replica = fc.record({ seq: fc.integer({ min: 0, max: 50 }), isDown: fc.boolean() });
    const world = fc.record({
      replicas: fc.array(replica, { minLength: 3, maxLength: 3 }),
      leader: fc.integer({ min: 0, max: 2 }),
      leased: fc.boolean(),
    });
    fc.assert(
      fc.property(world, ({ replicas, leader, leased }) => {
        // What was acknowledged is in the storage of who led; a replica may have more, that nobody was told of.
        const acknowledged = replicas[leader]!.seq;
        const spoken = replicas.flatMap(({ seq, isDown }, index) =>
          isDown ? [] : [[REPLICAS[index]!, stopped(seq, { ledByLease: leased && index === leader })] as const],
        );
        const down = REPLICAS.filter((_, index) => replicas[index]!.isDown);
        const found = verdict({ said: Object.fromEntries(spoken), down });
        expect(verdict({ said: Object.fromEntries([...spoken].reverse()), down })).toEqual(found);
        if (found.kind === 'basis') expect(found.basis.seq).toBeGreaterThanOrEqual(acknowledged);
        const mustGoOn = down.length === 0 || (leased && !replicas[leader]!.isDown);
        expect(found.kind).toBe(mustGoOn ? 'basis' : 'waits');
      }),
    );
  });
});
