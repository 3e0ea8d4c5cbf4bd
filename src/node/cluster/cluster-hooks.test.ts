import { describe, expect, test } from 'vitest';
import { utf8 } from '../../base/bytes.ts';
import type { ControlCommand } from '../../shard/control-command.ts';
import { type CounterCommand, counterModule } from '../../shard/counter.ts';
import type { EntryCommand } from '../../shard/entry.ts';
import { hookHeirKey, hookOutboxRange } from '../../shard/key-layout.ts';
import { positionScheme } from '../../shard/position-scheme.ts';
import { ShardMachine } from '../../shard/shard-machine.ts';
import { newShardState, type PositionRange } from '../../shard/shard-state.ts';
import { MemoryStorage } from '../../storage/memory.ts';
import { SystemClock } from '../node-clock.ts';
import { ClusterHooks } from './cluster-hooks.ts';
import type { HostedShard } from './hosted-shard.ts';

// What replicas keep of what a hook has not been told of yet. How it is told: test/cluster/hooks.test.ts.

const KEYSPACE = 7;
const [LEFT, RIGHT] = [1, 2];
const { position, slotShift } = positionScheme('hash');

/** One replica of each of two neighbours, which are merged. */
class Replicas {
  readonly storage = new MemoryStorage();
  readonly hooks = new ClusterHooks({
    storage: this.storage,
    clock: new SystemClock(),
    shards: () => [],
    mayTellInherited: () => true,
    onError: () => {},
  });
  readonly #machines = new Map([
    [LEFT, this.#machine(LEFT, { from: 0, to: 0x8000_0000 })],
    [RIGHT, this.#machine(RIGHT, { from: 0x8000_0000, to: 0x1_0000_0000 })],
  ]);

  constructor() {
    this.hooks.give('counters', { onCommandCommitted: () => {} });
  }

  /** Its replica of a shard runs the next entry of its log. */
  run(shard: number, command: EntryCommand<CounterCommand>): void {
    const machine = this.#machines.get(shard)!;
    const seq = machine.state.applied + 1;
    const entry = { epoch: 1, leader: 'a', prevHash: machine.state.hash, nowMs: 1, commands: [command] };
    const applied = machine.applyEntry(entry, seq);
    if (applied.kind !== 'applied') throw new Error(`entry ${seq} of shard ${shard}: ${applied.kind}`);
    const hosted = { id: shard, keyspace: { id: KEYSPACE, name: 'counters', module: counterModule }, leads: false, machine };
    this.hooks.ran(hosted as unknown as HostedShard, entry, seq, applied);
  }

  control(shard: number, control: ControlCommand): void {
    this.run(shard, { kind: 'control', control });
  }

  /** Answers the step by which the left shard takes it over. */
  freeze(): ControlCommand {
    this.control(LEFT, { kind: 'merge-prepare', op: 1, right: RIGHT });
    this.control(RIGHT, { kind: 'freeze', op: 1, left: LEFT });
    const { applied: rightSeq, hash: rightHash } = this.#machines.get(RIGHT)!.state;
    return { kind: 'merge-commit', op: 1, right: RIGHT, rightSeq, rightHash };
  }

  get waiting(): { readonly outbox: number; readonly heirs: number } {
    const heirs = { from: hookHeirKey(KEYSPACE, 0, 0), to: hookHeirKey(KEYSPACE + 1, 0, 0) };
    return { outbox: [...this.storage.scan(hookOutboxRange(KEYSPACE))].length, heirs: [...this.storage.scan(heirs)].length };
  }

  #machine(id: number, range: PositionRange) {
    return new ShardMachine({
      storage: this.storage,
      module: counterModule,
      positionOf: position,
      keyspaceId: KEYSPACE,
      maxValueBytes: 1_000,
      ...(slotShift === undefined ? {} : { slotShift }),
      state: newShardState({ id, range, table: 4, leader: 'a' }),
    });
  }
}

describe('what the right shard of a merge logs behind its freeze', () => {
  // Where the left one's log is read first, and where the right one's is.
  test.each([true, false])('takes nothing from what the left one is to tell (merged first: %s)', (isMergedFirst) => {
    const replicas = new Replicas();
    let key = '';
    for (let i = 0; position(utf8((key = `key ${i}`))) < 0x8000_0000; i++);
    replicas.run(RIGHT, { kind: 'command', key: utf8(key), command: { kind: 'add', by: 1 } });
    const mergeCommit = replicas.freeze();
    const late = (): void => replicas.run(RIGHT, { kind: 'hook-done', seq: 1 });
    if (!isMergedFirst) late();
    replicas.control(LEFT, mergeCommit);
    if (isMergedFirst) late();
    expect(replicas.waiting).toEqual({ outbox: 1, heirs: 1 });
    replicas.run(LEFT, { kind: 'hook-done', seq: 1, shard: RIGHT });
    expect(replicas.waiting).toEqual({ outbox: 0, heirs: 0 });
  });
});
