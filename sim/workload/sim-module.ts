import { type Bytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import type { ValueCodec, ValueModule } from '../../src/shard/value-module.ts';

// What the simulated clients' keys hold: text (a counter: its digits). Accounts are the workload over several keys. That a request which comes twice
// is run once is not seen to here: the store's own sessions do that.

export type SimAction =
  | { readonly kind: 'write'; readonly value: string }
  | { readonly kind: 'swap'; readonly expected: string; readonly value: string }
  | { readonly kind: 'add'; readonly amount: number }
  | { readonly kind: 'append'; readonly item: string }
  /** Of accounts: takes `amount` from one key and gives it to the other, when it is there. */
  | { readonly kind: 'transfer'; readonly from: string; readonly to: string; readonly amount: number };

/** A key, or all accounts: their names. */
export type SimQuery = { readonly kind: 'read' } | { readonly kind: 'audit'; readonly keys: readonly string[] };

export type SimValue = string;

/** What every account holds at first. */
export const OPENING_BALANCE = 10;

const text: ValueCodec<string> = { encode: utf8, decode: fromUtf8 };

export const simModule: ValueModule<SimValue, SimAction, string, SimQuery, string> = {
  name: 'sim',
  codec: text,
  replyCodec: text,
  commandCodec: {
    encode: (action: SimAction): Bytes => utf8(JSON.stringify(action)),
    decode: (bytes) => JSON.parse(fromUtf8(bytes)) as SimAction,
  },
  command: (_ctx, value = '', action) => run(value, action),
  query: (_ctx, value = '') => ({ answer: value }),
  commandMany(ctx, action) {
    if (action.kind !== 'transfer') throw new KeyfleetError('KF_BAD_COMMAND', `${action.kind} is for one key`);
    const giver = ctx.open(utf8(action.from));
    const taker = ctx.open(utf8(action.to));
    const balance = balanceOf(giver.value);
    if (balance < action.amount) return { reply: 'short' };
    giver.set(String(balance - action.amount));
    taker.set(String(balanceOf(taker.value) + action.amount));
    return { reply: 'moved' };
  },
  queryMany(ctx, query) {
    if (query.kind !== 'audit') throw new KeyfleetError('KF_BAD_COMMAND', `${query.kind} is for one key`);
    return { answer: query.keys.map((key) => balanceOf(ctx.open(utf8(key)).value)).join(' ') };
  },
};

function run(value: string, action: SimAction): { readonly value: string; readonly reply: string } {
  switch (action.kind) {
    case 'write':
      return { value: action.value, reply: 'ok' };
    case 'swap':
      return value === action.expected ? { value: action.value, reply: 'swapped' } : { value, reply: 'kept' };
    case 'add': {
      const sum = String(Number(value) + action.amount);
      return { value: sum, reply: sum };
    }
    case 'append': {
      const longer = `${value}${action.item} `;
      return { value: longer, reply: longer };
    }
    case 'transfer':
      throw new KeyfleetError('KF_BAD_COMMAND', 'a transfer is for two keys');
  }
}

function balanceOf(value: SimValue | undefined): number {
  return value === undefined ? OPENING_BALANCE : Number(value);
}
