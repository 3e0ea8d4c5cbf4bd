import { KeyfleetError } from '../base/errors.ts';
import { defineModule } from '../shard/define-module.ts';
import { MAX_SHARD_COUNT } from '../shard/policy.ts';
import type { PositionSchemeName } from '../shard/position-scheme.ts';
import type { ValueModule } from '../shard/value-module.ts';
import { checkHook } from './hook-caller.ts';
import type { LeaderHook } from './leader-hook.ts';

const SCHEMES: readonly PositionSchemeName[] = ['hash', 'redis'];
const HOOK_CALLS = ['onCommandCommitted', 'onQueryAnswered'] as const;

/** What is said of a keyspace, by code whose types nobody has checked. @throws KF_BAD_KEYSPACE, KF_BAD_MODULE, KF_BAD_OPTION for a hook. */
export function checkKeyspace<V, C, R, Q, A>(
  name: string,
  options: {
    readonly module: ValueModule<V, C, R, Q, A>;
    readonly shards: number | readonly number[];
    readonly scheme: PositionSchemeName;
    readonly hook: LeaderHook<C, Q, A> | undefined;
  },
): void {
  const { module, scheme, hook } = options;
  const shards = typeof options.shards === 'object' ? options.shards.length : options.shards;
  if (typeof name !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    throw new KeyfleetError('KF_BAD_KEYSPACE', `a keyspace name has 1 to 64 of A-Z a-z 0-9 . _ -, not ${JSON.stringify(name)}`);
  }
  if (!Number.isInteger(shards) || shards < 1 || shards > MAX_SHARD_COUNT) {
    throw new KeyfleetError(
      'KF_BAD_KEYSPACE',
      `keyspace ${name}: shards is a whole number from 1 to ${MAX_SHARD_COUNT}, not ${JSON.stringify(shards)}`,
    );
  }
  if (!SCHEMES.includes(scheme)) {
    throw new KeyfleetError('KF_BAD_KEYSPACE', `keyspace ${name}: scheme is ${SCHEMES.join(' or ')}, not ${JSON.stringify(scheme)}`);
  }
  if (typeof module !== 'object' || module === null) {
    throw new KeyfleetError(
      'KF_BAD_MODULE',
      `keyspace ${name} was given no value module: { module: plainBytes }, or one of your own (docs/modules.md)`,
    );
  }
  defineModule(module);
  if (hook === undefined) return;
  if (typeof hook !== 'object' || hook === null) throw badHook(name, `is an object with ${HOOK_CALLS.join(' or ')}`);
  checkHook(hook);
  for (const call of HOOK_CALLS) {
    if (hook[call] !== undefined && typeof hook[call] !== 'function') throw badHook(name, `has a function ${call}`);
  }
  if (HOOK_CALLS.every((call) => hook[call] === undefined)) throw badHook(name, `has ${HOOK_CALLS.join(' or ')}, or it hears of nothing`);
}

function badHook(keyspace: string, what: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_OPTION', `the hook of keyspace ${keyspace} ${what}`);
}
