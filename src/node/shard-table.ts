import type { LocalShard } from '../log/local.ts';

/** The shards of a keyspace in this process, and which of them has a position. Built from what the shards say of themselves. */
export class ShardTable<Value, Command, Reply, Query, Answer> {
  /** Those that share the keyspace among them, in order of position. One that is being split or merged may not serve for the moment. */
  readonly shards: readonly LocalShard<Value, Command, Reply, Query, Answer>[];
  readonly #members: ReadonlyMap<number, LocalShard<Value, Command, Reply, Query, Answer>>;
  readonly #starts: readonly number[];

  constructor(members: Iterable<LocalShard<Value, Command, Reply, Query, Answer>>) {
    this.#members = new Map([...members].map((shard) => [shard.machine.state.id, shard]));
    const shards: LocalShard<Value, Command, Reply, Query, Answer>[] = [];
    const inOrder = [...this.#members.values()].sort(
      (a, b) => a.machine.state.range.from - b.machine.state.range.from || rank(a) - rank(b),
    );
    for (const shard of inOrder) {
      const { range, status } = shard.machine.state;
      const end = shards.at(-1)?.machine.state.range.to ?? 0;
      // What begins before the end of the one before has been taken over by it.
      if (status !== 'retired' && range.from >= end) shards.push(shard);
    }
    this.shards = shards;
    this.#starts = shards.map(({ machine }) => machine.state.range.from);
  }

  /** All shards, those included that have been taken over and are still to be put away. */
  members(): readonly LocalShard<Value, Command, Reply, Query, Answer>[] {
    return [...this.#members.values()];
  }

  member(id: number): LocalShard<Value, Command, Reply, Query, Answer> | undefined {
    return this.#members.get(id);
  }

  /** Which of {@link shards} has `position`. */
  indexAt(position: number): number {
    const starts = this.#starts;
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Of two that begin at the same position the serving one comes first. */
function rank({ machine }: { readonly machine: { readonly isServing: boolean } }): number {
  return machine.isServing ? 0 : 1;
}
