import type { Model } from './checker.ts';
import type { History } from './history.ts';

// The sequential machines that histories are held against. States are text or a number, so that they are compared at once.

export type RegisterInput =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'write'; readonly key: string; readonly value: string }
  /** Writes `value` when the register holds `expected`; answers whether it did. */
  | { readonly kind: 'swap'; readonly key: string; readonly expected: string; readonly value: string };

/** A register holds text; an absent one holds the empty text. Reads answer the text, writes `ok`, swaps `swapped` or `kept`. */
export const registers: Model<string, RegisterInput, string> = {
  initial: '',
  partition: (input) => input.key,
  step(state, input, output) {
    switch (input.kind) {
      case 'read':
        return output === undefined || output === state ? state : undefined;
      case 'write':
        return input.value;
      case 'swap': {
        const swaps = state === input.expected;
        if (output !== undefined && (output === 'swapped') !== swaps) return undefined;
        return swaps ? input.value : state;
      }
    }
  },
  leftTrace: (input) => input.kind !== 'read',
};

export type CounterInput =
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'add'; readonly key: string; readonly amount: number };

/** A counter from zero. Both requests answer what it holds afterwards. */
export const counters: Model<number, CounterInput, number> = {
  initial: 0,
  partition: (input) => input.key,
  step(state, input, output) {
    const next = input.kind === 'add' ? state + input.amount : state;
    return output === undefined || output === next ? next : undefined;
  },
  leftTrace: (input) => input.kind === 'add',
};

export type ListInput =
  | { readonly kind: 'list'; readonly key: string }
  /** `item` is unique in the whole history and has no space. */
  | { readonly kind: 'append'; readonly key: string; readonly item: string };

/** A list of words. Both requests answer all of it, each word followed by a space. */
export const lists: Model<string, ListInput, string> = {
  initial: '',
  partition: (input) => input.key,
  step(state, input, output) {
    const next = input.kind === 'append' ? `${state}${input.item} ` : state;
    return output === undefined || output === next ? next : undefined;
  },
  /** An item that nobody ever saw may as well not be there. */
  leftTrace: (input, answered: History<ListInput, string>) =>
    input.kind === 'append' && answered.some(({ output }) => ` ${output}`.includes(` ${input.item} `)),
};
