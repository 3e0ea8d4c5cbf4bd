import type { Verdict } from './checker.ts';
import type { Operation } from './history.ts';

/** A violation for people: how far an order could be found, and the request that no order explains. */
export function showViolation<Input, Output>(verdict: Extract<Verdict<Input, Output>, { kind: 'violation' }>, lines = 8): string {
  const { part, placed, stuck } = verdict;
  const show = ({ client, input, output, calledAt, returnedAt }: Operation<Input, Output>): string =>
    `  [${calledAt}, ${returnedAt}] ${client}: ${JSON.stringify(input)} -> ${output === undefined ? 'unknown' : JSON.stringify(output)}`;
  const shown = placed.slice(-lines).map(show);
  return [
    `${part === '' ? 'the history' : `key ${part}`} is not linearizable: an order was found for ${placed.length} requests, ending with`,
    ...shown,
    'and behind them there is no place for',
    show(stuck),
  ].join('\n');
}
