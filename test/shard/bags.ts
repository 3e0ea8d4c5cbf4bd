import { type Bytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import type { Entry } from '../../src/shard/entry.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { newShardState } from '../../src/shard/shard-state.ts';
import type { ValueModule } from '../../src/shard/value-module.ts';
import type { MemoryStorage } from '../../src/storage/memory.ts';

const FIRST = newShardState({ id: 1, range: { from: 0, to: 0x1_0000_0000 }, table: 4, leader: 'n1' });

/** A module with everything a collection does: values counted in the record, members in cells, commands over several keys, commands that fail. */
type Bag = { readonly count: number };
export type BagCommand =
  | { readonly kind: 'put'; readonly cell: string; readonly value: string }
  | { readonly kind: 'take'; readonly cell: string }
  | { readonly kind: 'empty' | 'drop' | 'put-then-fail' | 'put-then-drop' }
  | { readonly kind: 'move'; readonly from: string; readonly to: string; readonly fail?: boolean };
const json = { encode: (value: unknown) => utf8(JSON.stringify(value)), decode: (bytes: Bytes) => JSON.parse(fromUtf8(bytes)) };
const bags: ValueModule<Bag, BagCommand, number, 'list' | 'backwards', string[]> = {
  name: 'bags',
  codec: json,
  commandCodec: json,
  command(ctx, value, command) {
    const count = value?.count ?? 0;
    switch (command.kind) {
      case 'put': {
        const isNew = !ctx.cells.has(utf8(command.cell));
        ctx.cells.set(utf8(command.cell), utf8(command.value));
        return { reply: Number(isNew), value: isNew ? { count: count + 1 } : value, sizeBytes: (count + Number(isNew)) * 10 };
      }
      case 'take': {
        if (!ctx.cells.has(utf8(command.cell))) return { reply: 0, value };
        ctx.cells.delete(utf8(command.cell));
        return { reply: 1, value: count === 1 ? undefined : { count: count - 1 }, sizeBytes: (count - 1) * 10 };
      }
      case 'empty':
        ctx.cells.clear();
        return { reply: count, value: value && { count: 0 }, sizeBytes: 0 };
      case 'put-then-fail':
        ctx.cells.set(utf8('trace'), utf8('!'));
        throw new KeyfleetError('KF_BAD_COMMAND', 'as asked');
      case 'put-then-drop':
        ctx.cells.set(utf8('trace'), utf8('!'));
        return { reply: 0, value: undefined };
      default:
        return { reply: count, value: undefined };
    }
  },
  commandMany(ctx, command) {
    if (command.kind !== 'move') throw new KeyfleetError('KF_BAD_COMMAND', command.kind);
    const from = ctx.open(utf8(command.from));
    const to = ctx.open(utf8(command.to));
    if (!from.value || from === to) return { reply: 0 };
    to.cells.clear();
    for (const { cell, value } of [...from.cells.scan()]) to.cells.set(cell, value);
    to.set(from.value, { expireAtMs: from.expireAtMs ?? null, sizeBytes: from.sizeBytes });
    from.set(undefined);
    if (command.fail) throw new KeyfleetError('KF_BAD_COMMAND', 'as asked');
    return { reply: 1 };
  },
  query(ctx, _value, query) {
    const found = [...ctx.cells.scan({ reverse: query === 'backwards' })];
    return { answer: found.map(({ cell, value }) => `${fromUtf8(cell)}=${fromUtf8(value)}`) };
  },
};

export function bagMachine(
  storage: MemoryStorage,
  extra: { onEntry?: (entry: Entry<BagCommand>, seq: number) => void; onGarbage?: () => void } = {},
) {
  return new ShardMachine({ storage, module: bags, positionOf: murmur3Position, state: FIRST, maxValueBytes: 1000, ...extra });
}
