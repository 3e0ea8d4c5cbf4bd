import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkLinearizable, type Model } from './checker.ts';
import { type History, HistoryRecorder, type Operation } from './history.ts';
import { type CounterInput, counters, type ListInput, lists, type RegisterInput, registers } from './models.ts';
import { showViolation } from './show-violation.ts';

const FOREVER = Number.POSITIVE_INFINITY;

/** `[called, returned] client: …` as a table row; a return of FOREVER is an unknown outcome. */
function op<Input, Output>(calledAt: number, returnedAt: number, input: Input, output?: Output): Operation<Input, Output> {
  return { client: `c${calledAt}`, input, output: returnedAt === FOREVER ? undefined : output, calledAt, returnedAt };
}

const write = (value: string, key = 'k'): RegisterInput => ({ kind: 'write', key, value });
const read = (key = 'k'): RegisterInput => ({ kind: 'read', key });
const swap = (expected: string, value: string): RegisterInput => ({ kind: 'swap', key: 'k', expected, value });
const add = (amount = 1): CounterInput => ({ kind: 'add', key: 'k', amount });
const get = (): CounterInput => ({ kind: 'get', key: 'k' });
const append = (item: string): ListInput => ({ kind: 'append', key: 'k', item });
const list = (): ListInput => ({ kind: 'list', key: 'k' });

const GOOD_REGISTERS: Readonly<Record<string, History<RegisterInput, string>>> = {
  'nothing at all': [],
  'one after the other': [op(1, 2, write('a'), 'ok'), op(3, 4, read(), 'a')],
  'a read beside a write sees the old value': [op(1, 4, write('a'), 'ok'), op(2, 3, read(), '')],
  'a read beside a write sees the new value': [op(1, 4, write('a'), 'ok'), op(2, 3, read(), 'a')],
  'two writes beside each other, in either order': [
    op(1, 4, write('a'), 'ok'),
    op(2, 3, write('b'), 'ok'),
    op(5, 6, read(), 'a'),
    op(7, 8, read(), 'a'),
  ],
  'a write of unknown outcome that is seen late': [op(1, FOREVER, write('a')), op(2, 3, read(), ''), op(4, 5, read(), 'a')],
  'a write of unknown outcome that is never seen': [op(1, FOREVER, write('a')), op(2, 3, read(), ''), op(4, 5, read(), '')],
  'a swap that fails because of a write of unknown outcome': [op(1, FOREVER, write('a')), op(2, 3, swap('', 'b'), 'kept')],
  'keys know nothing of each other': [op(1, 2, write('a', 'x'), 'ok'), op(3, 4, read('y'), ''), op(5, 6, read('x'), 'a')],
};

const BAD_REGISTERS: Readonly<Record<string, History<RegisterInput, string>>> = {
  'a stale read': [op(1, 2, write('a'), 'ok'), op(3, 4, read(), '')],
  'a value that nobody wrote': [op(1, 2, write('a'), 'ok'), op(3, 4, read(), 'b')],
  'a read goes back behind an earlier read': [op(1, 8, write('a'), 'ok'), op(2, 3, read(), 'a'), op(4, 5, read(), '')],
  'a write of unknown outcome is seen and then not': [op(1, FOREVER, write('a')), op(2, 3, read(), 'a'), op(4, 5, read(), '')],
  'a read sees a write that was not yet called': [op(1, 2, read(), 'a'), op(3, 4, write('a'), 'ok')],
  'a read sees a write of unknown outcome that was not yet called': [op(1, 2, read(), 'a'), op(3, FOREVER, write('a'))],
  'two swaps both win': [op(1, 4, swap('', 'a'), 'swapped'), op(2, 3, swap('', 'b'), 'swapped')],
  'two reads disagree on the order of two writes': [
    op(1, 20, write('a'), 'ok'),
    op(2, 19, write('b'), 'ok'),
    op(3, 4, read(), 'a'),
    op(5, 6, read(), 'b'),
    op(7, 8, read(), 'a'),
  ],
};

const kindOf = (verdict: { readonly kind: string }): string => verdict.kind;

describe('a history of registers', () => {
  for (const [name, history] of Object.entries(GOOD_REGISTERS)) {
    test(`is linearizable: ${name}`, () => {
      expect(kindOf(checkLinearizable(registers, history))).toBe('linearizable');
    });
  }
  for (const [name, history] of Object.entries(BAD_REGISTERS)) {
    test(`is not: ${name}`, () => {
      expect(kindOf(checkLinearizable(registers, history))).toBe('violation');
    });
  }
});

describe('a history of counters', () => {
  test('may hold an unknown addition once, and not twice', () => {
    const history = (seen: number): History<CounterInput, number> => [
      op(1, FOREVER, add()),
      op(2, 3, add(), 1),
      op(4, 5, get(), 1),
      op(6, 7, get(), seen),
    ];
    expect([1, 2, 3, 0].map((seen) => kindOf(checkLinearizable(counters, history(seen))))).toEqual([
      'linearizable',
      'linearizable',
      'violation',
      'violation',
    ]);
  });

  test('is wrong when two additions answer the same', () => {
    expect(kindOf(checkLinearizable(counters, [op(1, 4, add(), 1), op(2, 3, add(), 1)]))).toBe('violation');
  });

  test('with forty unknown additions costs few steps, right or wrong', () => {
    const unknown = Array.from({ length: 40 }, (_, i) => op<CounterInput, number>(i + 1, FOREVER, add()));
    const verdicts = [40, 41].map((seen) => checkLinearizable(counters, [...unknown, op(100, 101, get(), seen)]));
    expect(verdicts.map(kindOf)).toEqual(['linearizable', 'violation']);
    for (const { steps } of verdicts) expect(steps).toBeLessThan(100);
  });
});

describe('a history of lists', () => {
  test('tells a lost item from one whose outcome was unknown', () => {
    const known: History<ListInput, string> = [op(1, 2, append('a'), 'a '), op(3, 4, append('b'), 'a b '), op(5, 6, list(), 'b ')];
    const unknown: History<ListInput, string> = [op(1, FOREVER, append('a')), op(3, 4, append('b'), 'b '), op(5, 6, list(), 'b ')];
    expect([known, unknown].map((history) => kindOf(checkLinearizable(lists, history)))).toEqual(['violation', 'linearizable']);
  });

  test('tells an item that stands there twice', () => {
    expect(kindOf(checkLinearizable(lists, [op(1, 2, append('a'), 'a '), op(3, 4, list(), 'a a ')]))).toBe('violation');
  });

  test('leaves out unknown items that nobody saw, however many', () => {
    const unknown = Array.from({ length: 60 }, (_, i) => op<ListInput, string>(i + 1, FOREVER, append(`u${i}`)));
    const verdict = checkLinearizable(lists, [...unknown, op(100, 101, append('a'), 'a '), op(102, 103, list(), '')]);
    expect(verdict).toMatchObject({ kind: 'violation', part: 'k' });
    expect(verdict.steps).toBeLessThan(10);
  });
});

/** The definition itself: every order of every choice of the unknown requests. */
function isLinearizableByDefinition<State extends string | number, Input, Output>(
  model: Model<State, Input, Output>,
  history: History<Input, Output>,
): boolean {
  const tryNext = (state: State, left: readonly Operation<Input, Output>[]): boolean => {
    if (left.every(({ returnedAt }) => returnedAt === FOREVER)) return true;
    return left.some((one) => {
      if (left.some((other) => other.returnedAt < one.calledAt)) return false;
      const next = model.step(state, one.input, one.output);
      return (
        next !== undefined &&
        tryNext(
          next,
          left.filter((other) => other !== one),
        )
      );
    });
  };
  return tryNext(model.initial, history);
}

/** A few clients, each with one request at a time, and answers that are sometimes right. */
function randomHistory<Input, Output>(
  chance: Prng,
  input: (chance: Prng, index: number) => Input,
  output: (chance: Prng, input: Input) => Output,
): History<Input, Output> {
  const recorder = new HistoryRecorder<Input, Output>();
  const open: { token: number; input: Input }[] = [];
  for (let i = 0; i < 6; ) {
    if (open.length < 3 && chance.below(2) === 0) {
      const one = input(chance, i++);
      open.push({ token: recorder.call(`c${open.length}`, one), input: one });
    } else if (open.length > 0) {
      const [one] = open.splice(chance.below(open.length), 1);
      if (chance.below(4) > 0) recorder.settled(one!.token, output(chance, one!.input));
    }
  }
  return recorder.history();
}

describe('the search', () => {
  test('comes to the same as the definition, for 6,000 small random histories of each kind', () => {
    const chance = new Prng(7);
    const found = { linearizable: 0, violation: 0 };
    const compare = <State extends string | number, Input, Output>(
      model: Model<State, Input, Output>,
      history: History<Input, Output>,
    ): void => {
      const verdict = checkLinearizable(model, history);
      const right = isLinearizableByDefinition(model, history);
      if ((verdict.kind === 'linearizable') !== right) throw new Error(`${verdict.kind}: ${JSON.stringify(history)}`);
      found[right ? 'linearizable' : 'violation']++;
    };
    for (let round = 0; round < 6_000; round++) {
      const value = (): string => chance.pick(['a', 'b']);
      compare(
        registers,
        randomHistory<RegisterInput, string>(
          chance,
          () => chance.pick([read(), write(value()), swap(value(), value())]),
          (_, input) =>
            input.kind === 'write' ? 'ok' : input.kind === 'read' ? chance.pick(['', 'a', 'b']) : chance.pick(['swapped', 'kept']),
        ),
      );
      compare(
        counters,
        randomHistory<CounterInput, number>(
          chance,
          () => chance.pick([add(), add(2), get()]),
          () => chance.below(5),
        ),
      );
      compare(
        lists,
        randomHistory<ListInput, string>(
          chance,
          (_, index) => (chance.below(3) === 0 ? list() : append(`${index}`)),
          (_, input) => chance.pick(['', '0 ', '1 ', '0 1 ', input.kind === 'append' ? `${input.item} ` : '0 2 ']),
        ),
      );
    }
    expect(found.linearizable).toBeGreaterThan(1_000);
    expect(found.violation).toBeGreaterThan(1_000);
  });

  /** What a correct server would answer to ten clients, the request taking effect somewhere between call and return. */
  function correctRun(count: number, chance: Prng): Operation<ListInput, string>[] {
    const recorder = new HistoryRecorder<ListInput, string>();
    const states = new Map<string, string>();
    const open: { token: number; input: ListInput; output: string | undefined }[] = [];
    for (let i = 0; i < count || open.length > 0; ) {
      if (i < count && open.length < 10 && chance.below(2) === 0) {
        const key = `k${chance.below(50)}`;
        const input: ListInput = chance.below(3) === 0 ? { kind: 'list', key } : { kind: 'append', key, item: `${i}` };
        open.push({ token: recorder.call(`c${i}`, input), input, output: undefined });
        i++;
        continue;
      }
      const at = chance.below(open.length);
      const one = open[at];
      if (!one) continue;
      if (one.output === undefined) {
        const { key } = one.input;
        if (one.input.kind === 'append') states.set(key, `${states.get(key) ?? ''}${one.input.item} `);
        one.output = states.get(key) ?? '';
      } else {
        open.splice(at, 1);
        if (chance.below(50) > 0) recorder.settled(one.token, one.output);
      }
    }
    return [...recorder.history()];
  }

  test('takes 20,000 requests of ten clients with few more steps than requests, and finds the one answer that was changed', () => {
    const history = correctRun(20_000, new Prng(3));
    const good = checkLinearizable(lists, history);
    expect(good.kind).toBe('linearizable');
    expect(good.steps).toBeLessThan(40_000);
    const at = history.findIndex(({ input, output }, index) => index > 10_000 && input.kind === 'list' && (output ?? '').length > 20);
    const truth = history[at]!;
    history[at] = { ...truth, output: (truth.output ?? '').replace(/^\S+ /, '') };
    const bad = checkLinearizable(lists, history);
    expect(bad).toMatchObject({ kind: 'violation', part: truth.input.key });
  });

  test('says that it gave up instead of guessing', () => {
    const history = Array.from({ length: 30 }, (_, i) => op<RegisterInput, string>(1, 100, write(`${i}`), 'ok'));
    const verdict = checkLinearizable(registers, [...history, op(101, 102, read(), 'none')], { maxSteps: 500 });
    expect(verdict).toMatchObject({ kind: 'undecided', part: 'k' });
  });

  test('shows how far it came and what does not fit', () => {
    const verdict = checkLinearizable(registers, [op(1, 2, write('a'), 'ok'), op(3, 4, read(), 'b')]);
    expect(verdict.kind === 'violation' && showViolation(verdict)).toBe(
      [
        'key k is not linearizable: an order was found for 1 requests, ending with',
        '  [1, 2] c1: {"kind":"write","key":"k","value":"a"} -> "ok"',
        'and behind them there is no place for',
        '  [3, 4] c3: {"kind":"read","key":"k"} -> "b"',
      ].join('\n'),
    );
  });
});

describe('a recorder', () => {
  test('orders calls and returns as they happened, and forgets what certainly had no effect', () => {
    const recorder = new HistoryRecorder<string, string>();
    const first = recorder.call('a', 'x');
    const second = recorder.call('b', 'y');
    const third = recorder.call('c', 'z');
    recorder.settled(second, 'done');
    recorder.forget(third);
    expect(recorder.history()).toEqual([
      { client: 'a', input: 'x', output: undefined, calledAt: 1, returnedAt: FOREVER },
      { client: 'b', input: 'y', output: 'done', calledAt: 2, returnedAt: 4 },
    ]);
    recorder.settled(first, 'late');
    expect(recorder.history()[0]).toMatchObject({ output: 'late', returnedAt: 5 });
  });
});
