import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Bytes, toHex, utf8 } from '../../src/base/bytes.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { decodeEntry, type Entry, type EntryCommand, encodeEntry } from '../../src/shard/entry.ts';
import { parseStorageKey, positionStart, RECORD } from '../../src/shard/key-layout.ts';
import { dataDigest } from '../../src/shard/replica/data-digest.ts';
import { Digests } from '../../src/shard/replica/digests.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { newShardState } from '../../src/shard/shard-state.ts';
import type { ValueCodec, ValueModule } from '../../src/shard/value-module.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

const TABLE = 4;
const END = 0x1_0000_0000;

const json: ValueCodec<never> = {
  encode: (value) => utf8(JSON.stringify(value)),
  decode: (bytes) => JSON.parse(Buffer.from(bytes).toString()) as never,
};

/** A count of cells beside the cells; `chance` is what a pure module has not. */
type BagCommand = { readonly put: number; readonly large?: boolean } | 'drop' | 'chance';

function bags(chance: () => number): ValueModule<{ readonly cells: number }, BagCommand, number, null, number> {
  return {
    name: 'bags',
    codec: json as never,
    commandCodec: json as never,
    command(ctx, value, command) {
      if (command === 'drop') return { reply: 0, value: undefined };
      const cells = command === 'chance' ? chance() : (value?.cells ?? 0) + 1;
      if (command !== 'chance') ctx.cells.set(utf8(`cell ${command.put}`), utf8('c'.repeat(command.large ? 300 : 3)));
      return { reply: cells, value: { cells }, expireAtMs: cells % 2 === 0 ? 5_000 : null };
    },
    query: (_ctx, value) => ({ answer: value?.cells ?? 0 }),
  };
}

/** A replica that is fed entries, compares itself, and is told what to do by a test. */
class Member {
  readonly name: string;
  readonly storage = new MemoryStorage();
  readonly machine: ShardMachine<{ readonly cells: number }, BagCommand, number, null, number>;
  readonly digests: Digests;
  differs = false;

  constructor(name: string, every = 4, chance: () => number = () => 7) {
    this.name = name;
    const state = newShardState({ id: 1, range: { from: 0, to: END }, table: TABLE, leader: 'a' });
    const { storage } = this;
    this.machine = new ShardMachine({
      storage,
      module: bags(chance),
      positionOf: murmur3Position,
      state,
      maxValueBytes: 1 << 20,
      slotShift: 16,
    });
    this.digests = new Digests({ reader: storage, state: () => this.machine.state, positionOf: murmur3Position, every, votingMs: 10 });
  }

  run(bytes: Bytes): void {
    const entry = decodeEntry<BagCommand>(bytes, json as never);
    const seq = this.machine.state.applied + 1;
    expect(this.machine.applyEntry(entry, seq, bytes).kind).toBe('applied');
    this.storage.commit();
    if (this.digests.ran(entry, seq)) this.differs = true;
  }

  /** Everything that counts: the digests of all stretches, one behind the other. */
  walk(maxPairs: number, maxBytes = 1 << 20): string[] {
    const found: string[] = [];
    for (let from: Bytes | undefined = new Uint8Array(0); from; ) {
      const { hash, next } = dataDigest(this.storage, this.machine.state, { from, maxPairs, maxBytes });
      found.push(toHex(hash));
      from = next;
    }
    return found;
  }
}

class Group {
  readonly members: Member[];
  nowMs = 0;

  constructor(members: Member[]) {
    this.members = members;
  }

  get leader(): Member {
    return this.members[0]!;
  }

  append(...commands: EntryCommand<BagCommand>[]): void {
    const { epoch, leader, hash: prevHash } = this.leader.machine.state;
    const entry: Entry<BagCommand> = { epoch, leader, prevHash, nowMs: this.nowMs, commands };
    const bytes = encodeEntry(entry, json as never);
    for (const member of this.members) member.run(bytes);
  }

  put(key: string, command: BagCommand): void {
    this.append({ kind: 'command', key: utf8(key), command });
  }

  /** One look of the leader, and a report of everyone else. */
  look(): void {
    this.nowMs += 4;
    for (const { name, digests } of this.members.slice(1)) if (digests.vote) this.leader.digests.voted(name, digests.vote);
    const command = this.leader.digests.next(this.leader.name, this.nowMs);
    if (!command) return;
    this.append(command);
    this.leader.digests.settled(true, this.nowMs);
  }

  /** Who turns out to differ while entries come and go. */
  found(entries: number): string[] {
    for (let i = 0; i < entries; i++) {
      this.append();
      this.look();
    }
    return this.members.filter(({ differs }) => differs).map(({ name }) => name);
  }
}

const fill = (group: Group, keys: number): void => {
  for (let i = 0; i < keys; i++) for (let cell = 0; cell < i % 5; cell++) group.put(`key ${i}`, { put: cell });
};

/** Turns a bit of a stored value. */
function flip(storage: MemoryStorage, at: number): void {
  const pairs = [...storage.scan({ from: positionStart(TABLE, 0), to: positionStart(TABLE, END) })];
  const { key, value } = pairs[at % pairs.length]!;
  const damaged = value.slice();
  damaged[damaged.length - 1]! ^= 1;
  storage.put(key, damaged);
  storage.commit();
}

describe('the digest of what a replica has', () => {
  test('is the same for the same entries, whatever has been swept of what nothing refers to, and shows every bit that was turned', () => {
    const command = fc.oneof(
      fc.record({ put: fc.nat(20), large: fc.boolean() }) as fc.Arbitrary<BagCommand>,
      fc.constant<BagCommand>('drop'),
    );
    const commands = fc.array(fc.tuple(fc.nat(6), command), { minLength: 1, maxLength: 120 });
    fc.assert(
      fc.property(commands, fc.integer({ min: 1, max: 9 }), fc.nat(), (given, maxPairs, at) => {
        const group = new Group([new Member('a'), new Member('b')]);
        for (const [key, one] of given) group.put(`key ${key}`, one);
        const [a, b] = group.members as [Member, Member];
        // Cells of a generation that is gone, of a record that is there and of one that is not.
        for (const { key, value } of [...a.storage.scan({ from: positionStart(TABLE, 0), to: positionStart(TABLE, END) })]) {
          const { tag, tagAt } = parseStorageKey(key);
          if (tag === RECORD) continue;
          const old = key.slice();
          // The last byte of the generation.
          old[tagAt + 5] = at % 2 === 0 ? 0 : 200;
          if (!a.storage.has(old)) b.storage.put(old, value);
        }
        const whole = a.walk(maxPairs);
        expect(b.walk(maxPairs)).toEqual(whole);
        expect(a.walk(maxPairs, 1)).toEqual(b.walk(maxPairs, 1));
        if (a.machine.state.keyCount === 0) return;
        flip(a.storage, at);
        const now = a.walk(maxPairs);
        expect(now.length).toBe(whole.length);
        expect(now.filter((hash, index) => hash !== whole[index]).length).toBe(1);
      }),
      { numRuns: 60, seed: 7 },
    );
  });

  test('begins inside a record with more cells than a stretch takes', () => {
    const group = new Group([new Member('a'), new Member('b')]);
    for (let cell = 0; cell < 50; cell++) group.put('one', { put: cell });
    expect(group.members[0]!.walk(7).length).toBe(Math.ceil(51 / 7));
  });
});

describe('replicas that compare what they have', () => {
  test('say nothing in the log but their marks, as long as all have the same', () => {
    const group = new Group([new Member('a'), new Member('b'), new Member('c')]);
    fill(group, 20);
    expect(group.found(200)).toEqual([]);
  });

  test.each(['a', 'b', 'c'])('find out which of three has a bit turned, also when it leads: %s', (name) => {
    const group = new Group([new Member('a'), new Member('b'), new Member('c')]);
    fill(group, 200);
    flip(group.members.find((one) => one.name === name)!.storage, 150);
    expect(group.found(400)).toEqual([name]);
  });

  test('of two believe the one that leads', () => {
    const group = new Group([new Member('a'), new Member('b')]);
    fill(group, 20);
    flip(group.leader.storage, 3);
    expect(group.found(100)).toEqual(['b']);
  });

  test('find out a module that is not pure', () => {
    let called = 0;
    const group = new Group([new Member('a'), new Member('b'), new Member('c', 4, () => called++)]);
    fill(group, 300);
    group.put('key 5', 'chance');
    expect(group.found(40)).toEqual(['c']);
  });

  test('look first at what was written lately: a bit turned there is found within two marks of many records', () => {
    const group = new Group([new Member('a', 10), new Member('b', 10), new Member('c', 10)]);
    fill(group, 2_000);
    group.found(25);
    group.put('key 1777', { put: 9 });
    const { storage } = group.members[1]!;
    const pairs = [...storage.scan({ from: positionStart(TABLE, 0), to: positionStart(TABLE, END) })];
    flip(
      storage,
      pairs.findIndex(({ key }) => Buffer.from(key).includes('key 1777')),
    );
    expect(group.found(2 * 14)).toEqual(['b']);
  });

  test('take no vote of another mark, and none of a leader who is replaced', () => {
    const group = new Group([new Member('a'), new Member('b'), new Member('c')]);
    fill(group, 10);
    group.found(8);
    group.leader.digests.voted('b', { seq: 1, hash: new Uint8Array(16) });
    group.members.reverse();
    expect(group.found(100)).toEqual([]);
  });
});
