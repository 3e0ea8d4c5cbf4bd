import { type Bytes, utf8 } from '../../base/bytes.ts';
import { BITMAP_ROWS } from './commands/bitmap-rows.ts';
import { CLUSTER_ROWS } from './commands/cluster-rows.ts';
import type { CommandArgs, CommandGroup, CommandSpec } from './commands/command-spec.ts';
import { CONNECTION_ROWS } from './commands/connection-rows.ts';
import { HASH_ROWS } from './commands/hash-rows.ts';
import { KEY_ROWS } from './commands/keys-rows.ts';
import { LIST_ROWS } from './commands/list-rows.ts';
import { parseRows } from './commands/parse-rows.ts';
import { SERVER_ROWS } from './commands/server-rows.ts';
import { SET_ROWS } from './commands/set-rows.ts';
import { SORTED_SET_ROWS } from './commands/sorted-set-rows.ts';
import { STRING_ROWS } from './commands/string-rows.ts';
import { TRANSACTION_ROWS } from './commands/transaction-rows.ts';
import { unknownCommandError, unknownSubcommandError, wrongArityError } from './error-replies.ts';
import { parseInteger } from './integer.ts';
import type { TaggedReply } from './reply.ts';
import { isWord } from './word.ts';

// All commands that the RESP door answers, as Redis 7.0 describes them, plus CLIENT SETINFO and CLIENT NO-TOUCH of 7.2, which today's client
// libraries send when they connect. One table for COMMAND INFO, for routing by the door, and for the module's handlers.

export type { CommandArgs, CommandGroup, CommandRoute, CommandSpec, KeySpec } from './commands/command-spec.ts';

const GROUPS: readonly { readonly group: CommandGroup; readonly rows: string }[] = [
  { group: 'generic', rows: KEY_ROWS },
  { group: 'string', rows: STRING_ROWS },
  { group: 'bitmap', rows: BITMAP_ROWS },
  { group: 'hash', rows: HASH_ROWS },
  { group: 'list', rows: LIST_ROWS },
  { group: 'set', rows: SET_ROWS },
  { group: 'sorted-set', rows: SORTED_SET_ROWS },
  { group: 'transactions', rows: TRANSACTION_ROWS },
  { group: 'connection', rows: CONNECTION_ROWS },
  { group: 'server', rows: SERVER_ROWS },
  { group: 'cluster', rows: CLUSTER_ROWS },
];

/** The commands by name, lower case, subcommands inside their containers. */
export const COMMANDS: ReadonlyMap<string, CommandSpec> = buildTable();

/** One more than the greatest index of a command or subcommand. */
export const COMMAND_INDEX_END: number = everySpec().length;

/** All commands and subcommands, by index. */
export function everySpec(): readonly CommandSpec[] {
  return [...COMMANDS.values()].flatMap((spec) => [spec, ...spec.subcommands.values()]);
}

function buildTable(): ReadonlyMap<string, CommandSpec> {
  const table = new Map<string, CommandSpec>();
  let firstIndex = 0;
  for (const { group, rows } of GROUPS) {
    for (const spec of parseRows({ rows, group, firstIndex })) {
      table.set(spec.name, spec);
      firstIndex += 1 + spec.subcommands.size;
    }
  }
  return table;
}

const byHash: ReadonlyMap<number, readonly CommandSpec[]> = hashTable(COMMANDS.values());

function hashTable(specs: Iterable<CommandSpec>): ReadonlyMap<number, readonly CommandSpec[]> {
  const table = new Map<number, CommandSpec[]>();
  for (const spec of specs) {
    let hash = 0;
    for (let i = 0; i < spec.name.length; i++) hash = (Math.imul(hash, 31) + spec.name.charCodeAt(i)) | 0;
    table.set(hash, [...(table.get(hash) ?? []), spec]);
  }
  return table;
}

/** The command whose name, in any case, is `bytes[from … to)`; undefined when there is none. Allocates nothing. */
export function findCommand(bytes: Bytes, from = 0, to: number = bytes.length): CommandSpec | undefined {
  let hash = 0;
  for (let i = from; i < to; i++) hash = (Math.imul(hash, 31) + lowerCase(bytes[i]!)) | 0;
  const specs = byHash.get(hash);
  if (specs === undefined) return undefined;
  for (let i = 0; i < specs.length; i++) if (isName(specs[i]!.name, bytes, from, to)) return specs[i];
  return undefined;
}

/** The name of a command that knows which one it names, so that nobody need look it up again. */
class CommandName extends Uint8Array {
  readonly command: CommandSpec;

  static get [Symbol.species](): Uint8ArrayConstructor {
    return Uint8Array;
  }

  constructor(command: CommandSpec) {
    super(utf8(command.name));
    this.command = command;
  }
}

const names: readonly CommandName[] = everySpec().map((spec) => new CommandName(spec));

/** The name of a command, the same bytes each time; as the first of its arguments {@link resolveCommand} knows it without looking. */
export function nameOf(command: CommandSpec): Bytes {
  return names[command.index]!;
}

function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

function isName(name: string, bytes: Bytes, from = 0, to: number = bytes.length): boolean {
  if (to - from !== name.length) return false;
  for (let i = from; i < to; i++) if (lowerCase(bytes[i]!) !== name.charCodeAt(i - from)) return false;
  return true;
}

/**
 * What `args` calls for: the command, or the subcommand of OBJECT, CLIENT, COMMAND, CONFIG and CLUSTER; else the error reply that Redis gives
 * (`kind` is `error`, which no spec has): an unknown command or subcommand, a wrong number of arguments. Allocates only for those.
 */
export function resolveCommand(args: CommandArgs): CommandSpec | TaggedReply {
  const name = args[0]!;
  const command = name instanceof CommandName ? name.command : findCommand(name);
  if (command === undefined) return unknownCommandError(args);
  if (command.subcommands.size === 0 || args.length === 1) return hasArity(command, args) ? command : wrongArityError(command.name);
  for (const [subname, subcommand] of command.subcommands)
    if (isName(subname, args[1]!)) return hasArity(subcommand, args) ? subcommand : wrongArityError(subcommand.name);
  return unknownSubcommandError(command.name, args[1]!);
}

/** Tells {@link resolveCommand}'s two kinds of answer apart. */
export function isSpec(resolved: CommandSpec | TaggedReply): resolved is CommandSpec {
  return 'arity' in resolved;
}

/** Of the commands whose keys stand in every second place, with their values between, each key must have its value. */
function hasArity(spec: CommandSpec, args: CommandArgs): boolean {
  if (spec.keyStep === 2 && (args.length - spec.firstKey) % 2 !== 0) return false;
  return spec.arity < 0 ? args.length >= -spec.arity : args.length === spec.arity;
}

/** The keys of a command of right arity, in order, repeated ones too; none when the number of keys that it states is wrong. */
export function keysOf(spec: CommandSpec, args: CommandArgs): Bytes[] {
  const keys: Bytes[] = [];
  for (const { firstKey, lastKey, step, countAt, isUnknown, flags } of spec.keySpecs) {
    if (isUnknown) {
      const store = flags.includes('OW') ? storeKeyOf(args) : undefined;
      if (store) keys.push(store);
      continue;
    }
    if (countAt !== undefined) {
      const count = parseInteger(args[countAt]!);
      if (count === undefined || count < 1 || count > args.length - countAt - 1) return [];
      keys.push(...args.slice(firstKey, firstKey + Number(count)));
      continue;
    }
    const last = lastKey < 0 ? args.length + lastKey : firstKey + lastKey;
    for (let i = firstKey; i <= last && i < args.length; i += step) keys.push(args[i]!);
  }
  return keys;
}

/** Where SORT stores its answer, read as Redis does: the last STORE counts. */
function storeKeyOf(args: CommandArgs): Bytes | undefined {
  let store: Bytes | undefined;
  for (let i = 2; i < args.length; i++) {
    if (isWord(args[i]!, 'LIMIT')) i += 2;
    else if (isWord(args[i]!, 'GET') || isWord(args[i]!, 'BY')) i++;
    else if (isWord(args[i]!, 'STORE') && i + 1 < args.length) store = args[i + 1];
  }
  return store;
}

/** The lines that `<COMMAND> HELP` answers. */
export function helpLines(container: CommandSpec): readonly string[] {
  const lines = [`${container.name.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`];
  for (const [name, spec] of container.subcommands) lines.push(name.toUpperCase(), `    ${spec.summary}`);
  return lines;
}
