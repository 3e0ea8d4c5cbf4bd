import { KeyfleetError } from '../base/errors.ts';
import { messagePack } from './message-pack.ts';
import type { ValueModule } from './value-module.ts';

/** A value module of which the codecs may be left out: values and commands are then kept as MessagePack, see {@link messagePack}. */
export type ModuleDefinition<Value, Command, Reply, Query, Answer> = Omit<
  ValueModule<Value, Command, Reply, Query, Answer>,
  'codec' | 'commandCodec'
> &
  Partial<Pick<ValueModule<Value, Command, Reply, Query, Answer>, 'codec' | 'commandCodec'>>;

/**
 * Makes a value module.
 *
 * @throws KF_BAD_MODULE when it has no name, or no `command` or `query`.
 */
export function defineModule<Value, Command, Reply, Query, Answer>(
  definition: ModuleDefinition<Value, Command, Reply, Query, Answer>,
): ValueModule<Value, Command, Reply, Query, Answer> {
  const { name, command, query } = definition ?? {};
  if (typeof name !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    throw new KeyfleetError('KF_BAD_MODULE', `a value module has a name of 1 to 64 of A-Z a-z 0-9 . _ -, not ${JSON.stringify(name)}`);
  }
  for (const [role, one] of Object.entries({ command, query })) {
    if (typeof one !== 'function') throw new KeyfleetError('KF_BAD_MODULE', `the value module ${name} has no function ${role}`);
  }
  // What is given as undefined is left out, as everywhere.
  return { ...definition, codec: definition.codec ?? messagePack(), commandCodec: definition.commandCodec ?? messagePack() };
}
