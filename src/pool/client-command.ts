import { type Bytes, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import { commandsByIndex, keyIndexes, type RequestArgs, type RoutedCommand } from './command-table.ts';
import type { CommandArg } from './request-encoder.ts';

const byName = new Map<string, RoutedCommand>();

/** The command of this name, in any case; undefined when none is known. */
export function commandNamed(name: string): RoutedCommand | undefined {
  const found = byName.get(name) ?? byName.get(name.toLowerCase());
  if (found !== undefined || byName.size === commandsByIndex().length) return found;
  // The table grows when commands of modules are learned.
  for (const command of commandsByIndex()) byName.set(command.name, command);
  return byName.get(name.toLowerCase());
}

export function keyOf(arg: CommandArg): KeyInput {
  return typeof arg === 'string' || typeof arg === 'object' ? arg : String(arg);
}

export function argBytes(arg: CommandArg): Bytes {
  return typeof arg === 'object' ? arg : utf8(String(arg));
}

/** The arguments as the command table reads them. */
export function requestArgs(args: readonly CommandArg[]): RequestArgs {
  return { argCount: args.length, arg: (i) => argBytes(args[i]!) };
}

/** Places of the keys among the arguments. @throws KF_BAD_COMMAND when the command says no sensible number of them. */
export function keyPlaces(command: RoutedCommand, args: readonly CommandArg[]): number[] {
  const places: number[] = [];
  if (!keyIndexes(command, requestArgs(args), places))
    throw new KeyfleetError('KF_BAD_COMMAND', `${command.name.toUpperCase()}: its number of keys is none, or its arguments are too few`);
  return places;
}
