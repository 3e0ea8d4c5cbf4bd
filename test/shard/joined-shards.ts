import { expect } from 'vitest';
import { type Bytes, utf8 } from '../../src/base/bytes.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import type { ControlCommand } from '../../src/shard/control-command.ts';
import { type Entry, encodeEntry } from '../../src/shard/entry.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { type PlainCommand, plainBytes } from '../../src/shard/plain-bytes.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, encodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import type { SlotCounts } from '../../src/shard/slot-counts.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

/** 4,096 slots: enough for many blocks of counts. */
export const SHIFT = 20;
export const TABLE = 4;
export const WHOLE = { from: 0, to: 0x1_0000_0000 };

export type Machine = ReturnType<typeof machineOf>;
type Counts = { readonly counts?: SlotCounts | undefined; readonly countsOf?: (id: number) => SlotCounts | undefined };
export function machineOf(
  storage: MemoryStorage,
  id: number,
  onEntry: (entry: Entry<PlainCommand>, seq: number) => void = () => {},
  known: Counts = {},
) {
  const state = decodeShardState(storage.get(stateKey(id))!);
  return new ShardMachine({
    storage,
    module: plainBytes,
    positionOf: murmur3Position,
    state,
    maxValueBytes: 1_000,
    slotShift: SHIFT,
    ...known,
    onEntry,
  });
}

/** A keyspace of shards, each step of which is taken at once. */
export class Shards {
  readonly storage = new MemoryStorage();
  readonly machines = new Map<number, Machine>();
  /** All entries in the order in which they were closed. */
  readonly entries: { id: number; seq: number; bytes: Bytes }[] = [];
  #nextId = 1;
  #nextOp = 1;

  constructor() {
    const id = this.#nextId++;
    this.storage.put(stateKey(id), encodeShardState(newShardState({ id, range: WHOLE, table: TABLE, leader: 'n1' })));
    this.#open(id);
  }

  /** The shards that have the keyspace among them, in order. */
  inOrder(): Machine[] {
    return [...this.machines.values()].sort((a, b) => a.state.range.from - b.state.range.from);
  }

  at(position: number): Machine {
    return this.inOrder().find(({ state: { range } }) => range.from <= position && position < range.to)!;
  }

  run(key: string, command: PlainCommand): boolean {
    const position = murmur3Position(utf8(key));
    const machine = this.at(position);
    if (!machine.entryIsOpen) machine.openEntry(1_000);
    return machine.run(utf8(key), position, command).done;
  }

  closeAll(): void {
    for (const machine of this.machines.values()) {
      if (machine.entryIsOpen) machine.closeEntry();
      machine.settle();
    }
    this.storage.commit();
  }

  step(machine: Machine, command: ControlCommand): string {
    if (machine.entryIsOpen) machine.closeEntry();
    machine.openEntry(command.kind === 'genesis' ? 0 : 1_000);
    return machine.control(command);
  }

  split(parent: Machine, at: number): void {
    const op = this.#nextOp++;
    const child = this.#nextId++;
    expect(this.step(parent, { kind: 'split-mark', op, at, child })).toBe('done');
    const born = this.#open(child, parent.born!.counts);
    const { peer, peerSeq } = born.state;
    expect(this.step(born, { kind: 'genesis', op, parent: peer, parentSeq: peerSeq })).toBe('done');
  }

  merge(left: Machine, right: Machine): void {
    const op = this.#nextOp++;
    expect(this.step(left, { kind: 'merge-prepare', op, right: right.state.id })).toBe('done');
    expect(this.step(right, { kind: 'freeze', op, left: left.state.id })).toBe('done');
    const { id, applied, hash } = right.state;
    expect(this.step(left, { kind: 'merge-commit', op, right: id, rightSeq: applied, rightHash: hash })).toBe('done');
    expect(this.step(right, { kind: 'retired', op })).toBe('done');
    this.machines.delete(id);
  }

  /** As after a restart. */
  reopen(): void {
    for (const id of [...this.machines.keys()]) this.#open(id);
  }

  /** Counts are handed from machine to machine, as in a node; whoever runs the logs reads those that are stored. */
  #open(id: number, counts?: SlotCounts): Machine {
    const onEntry = (entry: Entry<PlainCommand>, seq: number): void => {
      this.entries.push({ id, seq, bytes: encodeEntry(entry, plainBytes.commandCodec) });
    };
    const countsOf = (other: number): SlotCounts | undefined => this.machines.get(other)?.counts;
    const machine = machineOf(this.storage, id, onEntry, { counts, countsOf });
    this.machines.set(id, machine);
    return machine;
  }
}
