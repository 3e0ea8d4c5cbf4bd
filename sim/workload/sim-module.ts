import { type Bytes, fromUtf8, utf8 } from '../../src/base/bytes.ts';
import { KeyfleetError } from '../../src/base/errors.ts';
import type { ValueCodec, ValueModule } from '../../src/shard/value-module.ts';

// What the simulated clients' keys hold. Every key is text (a counter: its digits), with the last request of each client beside it, so that a request
// that comes twice is run once. Accounts are the workload over several keys.

/** Names a request of a client, so that it is run once. */
export interface SimRequestId {
  readonly client: string;
  readonly number: number;
}

export type SimAction =
  | { readonly kind: 'write'; readonly value: string }
  | { readonly kind: 'swap'; readonly expected: string; readonly value: string }
  | { readonly kind: 'add'; readonly amount: number }
  | { readonly kind: 'append'; readonly item: string }
  /** Of accounts: takes `amount` from the key and gives it to `to`, when it is there. */
  | { readonly kind: 'transfer'; readonly to: string; readonly amount: number };

export interface SimCommand {
  readonly action: SimAction;
  readonly request: SimRequestId | undefined;
}

/** A key, or all accounts: their names. */
export type SimQuery = { readonly kind: 'read' } | { readonly kind: 'audit'; readonly keys: readonly string[] };

export interface SimValue {
  readonly text: string;
  /** By client: the last request and its reply. */
  readonly done: Readonly<Record<string, { readonly number: number; readonly reply: string }>>;
}

const NOTHING: SimValue = { text: '', done: {} };
/** What every account holds at first. */
export const OPENING_BALANCE = 10;

export const simModule: ValueModule<SimValue, SimCommand, string, SimQuery, string> = {
  name: 'sim',
  codec: json<SimValue>(),
  commandCodec: json<SimCommand>(),
  command(_ctx, value = NOTHING, { action, request }) {
    const known = knownReply(value, request);
    if (known !== undefined) return { reply: known, value };
    const { text, reply } = run(value.text, action);
    return { reply, value: { text, done: withRequest(value, request, reply) } };
  },
  query: (_ctx, value = NOTHING) => ({ answer: value.text }),
  commandMany(ctx, { action, request }) {
    if (action.kind !== 'transfer') throw new KeyfleetError('KF_BAD_COMMAND', `${action.kind} is for one key`);
    const from = ctx.open(utf8(request ? `${action.to}|requests` : action.to));
    const known = knownReply(from.value ?? NOTHING, request);
    if (known !== undefined) return { reply: known };
    const [source, target] = action.to.split('>') as [string, string];
    const giver = ctx.open(utf8(source));
    const taker = ctx.open(utf8(target));
    const balance = balanceOf(giver.value);
    const moves = balance >= action.amount;
    const reply = moves ? 'moved' : 'short';
    if (moves) {
      giver.set({ text: String(balance - action.amount), done: {} });
      taker.set({ text: String(balanceOf(taker.value) + action.amount), done: {} });
    }
    if (request) from.set({ text: '', done: withRequest(from.value ?? NOTHING, request, reply) });
    return { reply };
  },
  queryMany(ctx, query) {
    if (query.kind !== 'audit') throw new KeyfleetError('KF_BAD_COMMAND', `${query.kind} is for one key`);
    return { answer: query.keys.map((key) => balanceOf(ctx.open(utf8(key)).value)).join(' ') };
  },
};

function run(text: string, action: SimAction): { readonly text: string; readonly reply: string } {
  switch (action.kind) {
    case 'write':
      return { text: action.value, reply: 'ok' };
    case 'swap':
      return text === action.expected ? { text: action.value, reply: 'swapped' } : { text, reply: 'kept' };
    case 'add': {
      const sum = String(Number(text) + action.amount);
      return { text: sum, reply: sum };
    }
    case 'append': {
      const longer = `${text}${action.item} `;
      return { text: longer, reply: longer };
    }
    case 'transfer':
      throw new KeyfleetError('KF_BAD_COMMAND', 'a transfer is for two keys');
  }
}

/** The reply that the request got when it was run. One that its client has long been answered comes late, and nobody listens. */
function knownReply(value: SimValue, request: SimRequestId | undefined): string | undefined {
  const last = request && value.done[request.client];
  return last && last.number >= request.number ? last.reply : undefined;
}

function withRequest(value: SimValue, request: SimRequestId | undefined, reply: string): SimValue['done'] {
  return request ? { ...value.done, [request.client]: { number: request.number, reply } } : value.done;
}

function balanceOf(value: SimValue | undefined): number {
  return value ? Number(value.text) : OPENING_BALANCE;
}

function json<T>(): ValueCodec<T> {
  return { encode: (value: T): Bytes => utf8(JSON.stringify(value)), decode: (bytes) => JSON.parse(fromUtf8(bytes)) as T };
}
