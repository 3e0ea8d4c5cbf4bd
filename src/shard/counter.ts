import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { messagePack } from './message-pack.ts';
import type { ValueCodec, ValueModule } from './value-module.ts';

export type CounterCommand =
  /** An absent counter counts from 0. */
  { readonly kind: 'add'; readonly by: number } | { readonly kind: 'set'; readonly to: number } | { readonly kind: 'remove' };

/** The commands and queries of {@link counterModule}, written short: `visits.command('home', counter.add())`. */
export const counter = {
  add: (by = 1): CounterCommand => ({ kind: 'add', by }),
  set: (to: number): CounterCommand => ({ kind: 'set', to }),
  remove: (): CounterCommand => ({ kind: 'remove' }),
  get: (): null => null,
} as const;

/**
 * Values are whole numbers from -(2^53 - 1) to 2^53 - 1. A command answers what the counter holds after it; `remove`, what it held.
 * A query answers what it holds; undefined when it is absent.
 * Fails with KF_BAD_COMMAND when a number is not whole or the sum would leave the range; the counter then stays as it was.
 */
export const counterModule: ValueModule<number, CounterCommand, number, null, number | undefined> = {
  name: 'counter',
  codec: numberCodec(),
  commandCodec: messagePack(),
  replyCodec: numberCodec(),
  command(_ctx, value = 0, command) {
    switch (command.kind) {
      case 'add':
        return counted(value + whole(command.by));
      case 'set':
        return counted(command.to);
      case 'remove':
        return { reply: value, value: undefined };
      default:
        throw new KeyfleetError('KF_BAD_COMMAND', `counter has no command ${JSON.stringify((command as { kind: unknown }).kind)}`);
    }
  },
  query: (_ctx, value) => ({ answer: value }),
};

function counted(value: number): { readonly reply: number; readonly value: number } {
  return { reply: whole(value), value };
}

function whole(value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw new KeyfleetError('KF_BAD_COMMAND', `a counter holds whole numbers from -(2^53 - 1) to 2^53 - 1, not ${value}`);
}

/** Eight bytes, so that the size of a counter tells nothing of its value. */
function numberCodec(): ValueCodec<number> {
  return {
    encode(value) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setFloat64(0, value);
      return bytes;
    },
    decode: (bytes: Bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getFloat64(0),
  };
}
