import type { Prng } from '../../src/base/prng.ts';
import { checkLinearizable, type Model, type Verdict } from '../linearizability/checker.ts';
import { HistoryRecorder } from '../linearizability/history.ts';
import { type CounterInput, counters, type ListInput, lists, type RegisterInput, registers } from '../linearizability/models.ts';
import { OPENING_BALANCE, type SimAction, type SimQuery } from './sim-module.ts';

// What clients do, and whether the answers they got can be true. Keys live for a while and are then left alone, so that histories of one key stay
// short enough to be judged whole, however long a run is.

/** A command as it goes to a shard. */
export interface SimCommandRequest {
  readonly kind: 'command';
  readonly key: string;
  readonly many: boolean;
  readonly action: SimAction;
}

export interface SimQueryRequest {
  readonly kind: 'query';
  readonly key: string;
  readonly many: boolean;
  readonly query: SimQuery;
}

export type SimRequest = SimCommandRequest | SimQueryRequest;

/** One request and where its fate is written down. */
export interface Assignment {
  readonly request: SimRequest;
  answered(text: string): void;
  /** It certainly had no effect and nobody will ask for it again. */
  dropped(): void;
}

type AccountInput =
  | { readonly kind: 'transfer'; readonly group: string; readonly from: number; readonly to: number; readonly amount: number }
  | { readonly kind: 'audit'; readonly group: string };

const ACCOUNT_COUNT = 4;

/** Some accounts between which amounts move; the sum stays. One part a group: the only model here over several keys. */
const accounts: Model<string, AccountInput, string> = {
  initial: Array.from({ length: ACCOUNT_COUNT }, () => OPENING_BALANCE).join(' '),
  partition: (input) => input.group,
  step(state, input, output) {
    if (input.kind === 'audit') return output === undefined || output === state ? state : undefined;
    const balances = state.split(' ').map(Number);
    const moves = balances[input.from]! >= input.amount;
    if (output !== undefined && (output === 'moved') !== moves) return undefined;
    if (!moves) return state;
    balances[input.from]! -= input.amount;
    balances[input.to]! += input.amount;
    return balances.join(' ');
  },
  leftTrace: (input) => input.kind === 'transfer',
};

export interface WorkloadOptions {
  /** Few keys: many requests meet at one. */
  readonly keysOfAKind: number;
  /** After so many requests clients turn to fresh keys. */
  readonly requestsOfAnAge: number;
}

export class Workload {
  readonly #chance: Prng;
  readonly #options: WorkloadOptions;
  readonly #registers = new HistoryRecorder<RegisterInput, string>();
  readonly #counters = new HistoryRecorder<CounterInput, number>();
  readonly #lists = new HistoryRecorder<ListInput, string>();
  readonly #accounts = new HistoryRecorder<AccountInput, string>();
  #count = 0;

  constructor(chance: Prng, options: WorkloadOptions = { keysOfAKind: 3, requestsOfAnAge: 120 }) {
    this.#chance = chance;
    this.#options = options;
  }

  /** How many requests have been made up. */
  get count(): number {
    return this.#count;
  }

  /** `onlyReads`: one that changes nothing. */
  next(client: string, onlyReads = false): Assignment {
    const chance = this.#chance;
    const age = Math.floor(this.#count++ / this.#options.requestsOfAnAge);
    const key = `${age}.${chance.below(this.#options.keysOfAKind)}`;
    switch (chance.below(4)) {
      case 0:
        return this.#register(client, `r${key}`, onlyReads);
      case 1:
        return this.#counter(client, `c${key}`, onlyReads);
      case 2:
        return this.#list(client, `l${key}`, onlyReads);
      default:
        return this.#account(client, `{a${age}}`, onlyReads);
    }
  }

  #register(client: string, key: string, onlyReads: boolean): Assignment {
    const chance = this.#chance;
    const value = `v${this.#count}`;
    switch (onlyReads ? 2 : chance.below(4)) {
      case 0: {
        const action: SimAction = { kind: 'write', value };
        return assign(this.#registers, client, { kind: 'write', key, value }, command(key, action), (text) => text);
      }
      case 1: {
        // Now and then one that can win: against what the key held a few requests ago.
        const expected = chance.below(2) === 0 ? '' : `v${this.#count - chance.below(12)}`;
        const action: SimAction = { kind: 'swap', expected, value };
        return assign(this.#registers, client, { ...action, key }, command(key, action), (text) => text);
      }
      default:
        return assign(this.#registers, client, { kind: 'read', key }, query(key), (text) => text);
    }
  }

  #counter(client: string, key: string, onlyReads: boolean): Assignment {
    if (onlyReads || this.#chance.below(2) === 0) return assign(this.#counters, client, { kind: 'get', key }, query(key), Number);
    return assign(this.#counters, client, { kind: 'add', key, amount: 1 }, command(key, { kind: 'add', amount: 1 }), Number);
  }

  #list(client: string, key: string, onlyReads: boolean): Assignment {
    if (onlyReads || this.#chance.below(2) === 0) return assign(this.#lists, client, { kind: 'list', key }, query(key), (text) => text);
    const item = `${this.#count}`;
    return assign(this.#lists, client, { kind: 'append', key, item }, command(key, { kind: 'append', item }), (text) => text);
  }

  #account(client: string, group: string, onlyReads: boolean): Assignment {
    const chance = this.#chance;
    const keys = Array.from({ length: ACCOUNT_COUNT }, (_, index) => `${group}.${index}`);
    if (onlyReads || chance.below(2) === 0) {
      const request: SimRequest = { kind: 'query', key: keys[0]!, many: true, query: { kind: 'audit', keys } };
      return assign(this.#accounts, client, { kind: 'audit', group }, request, (text) => text);
    }
    const from = chance.below(ACCOUNT_COUNT);
    const to = (from + 1 + chance.below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
    const amount = 1 + chance.below(OPENING_BALANCE);
    const action: SimAction = { kind: 'transfer', from: keys[from]!, to: keys[to]!, amount };
    return assign(
      this.#accounts,
      client,
      { kind: 'transfer', group, from, to, amount },
      { kind: 'command', key: keys[from]!, many: true, action },
      (text) => text,
    );
  }

  /** Judges all answers. Undecided is neither. */
  verdicts(): readonly {
    readonly of: string;
    readonly requests: number;
    readonly parts: number;
    readonly verdict: Verdict<unknown, unknown>;
  }[] {
    const judge = <State extends string | number, Input, Output>(
      of: string,
      model: Model<State, Input, Output>,
      recorder: HistoryRecorder<Input, Output>,
    ) => {
      const history = recorder.history();
      const parts = new Set(history.map(({ input }) => model.partition?.(input) ?? '')).size;
      return { of, requests: history.length, parts, verdict: checkLinearizable(model, history, { maxSteps: 300_000 }) };
    };
    return [
      judge('registers', registers, this.#registers),
      judge('counters', counters, this.#counters),
      judge('lists', lists, this.#lists),
      judge('accounts', accounts, this.#accounts),
    ];
  }
}

function command(key: string, action: SimAction): SimCommandRequest {
  return { kind: 'command', key, many: false, action };
}

function query(key: string): SimQueryRequest {
  return { kind: 'query', key, many: false, query: { kind: 'read' } };
}

function assign<Input, Output>(
  recorder: HistoryRecorder<Input, Output>,
  client: string,
  input: Input,
  request: SimRequest,
  read: (text: string) => Output,
): Assignment {
  const token = recorder.call(client, input);
  return { request, answered: (text) => recorder.settled(token, read(text)), dropped: () => recorder.forget(token) };
}
