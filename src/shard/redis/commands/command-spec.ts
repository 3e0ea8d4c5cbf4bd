import type { Bytes } from '../../../base/bytes.ts';

/** What Keyfleet knows about a Redis command: what COMMAND INFO and COMMAND DOCS answer, and how the door carries it out. */
export interface CommandSpec {
  /** Dense, from 0, for arrays of handlers; no meaning beyond this process. */
  readonly index: number;
  /** Lower case; a subcommand is `object|encoding`. */
  readonly name: string;
  readonly group: CommandGroup;
  /** Arguments with the name counted: exactly so many, or at least `-arity` when negative. */
  readonly arity: number;
  readonly flags: readonly string[];
  /** Without the `@`. */
  readonly aclCategories: readonly string[];
  readonly tips: readonly string[];
  readonly route: CommandRoute;
  /** `read` goes to the module's queries, `write` to its commands; `none` stays in the door. */
  readonly access: 'read' | 'write' | 'none';
  readonly keySpecs: readonly KeySpec[];
  /** As COMMAND INFO has them: the first key's place, the last one's (negative: counted from the end), the step; 0 0 0 without keys. */
  readonly firstKey: number;
  readonly lastKey: number;
  readonly keyStep: number;
  readonly since: string;
  readonly complexity: string;
  readonly summary: string;
  /** By the subcommand's own name, lower case; empty for all but OBJECT, CLIENT, COMMAND, CONFIG and CLUSTER. */
  readonly subcommands: ReadonlyMap<string, CommandSpec>;
}

export type CommandGroup =
  | 'generic'
  | 'string'
  | 'bitmap'
  | 'hash'
  | 'list'
  | 'set'
  | 'sorted-set'
  | 'transactions'
  | 'connection'
  | 'server'
  | 'cluster';

/** Who carries a command out, and with which keys. */
export type CommandRoute =
  /** The module, on the one key. */
  | { readonly kind: 'one-key' }
  /** The module's many-form; the keys must be in one slot, else CROSSSLOT. */
  | { readonly kind: 'many-keys-one-slot' }
  /**
   * Any keys. With one key, or all of them in one slot: as it is, to the module's many-form, atomically. Else one command for each slot
   * (the name, then that slot's keys with what belongs to them), and the replies joined: added up, put back in the order asked, or OK.
   */
  | { readonly kind: 'split-and-join'; readonly join: 'sum' | 'array' | 'ok' }
  /** The door, over all keys. */
  | { readonly kind: 'keyspace' }
  /** The door. */
  | { readonly kind: 'connection' | 'server' };

/** Where keys stand in a command. */
export interface KeySpec {
  readonly firstKey: number;
  /** Counted from `firstKey`; negative: from the end of the command, -1 the last argument. */
  readonly lastKey: number;
  readonly step: number;
  /** Where their number stands, when it is an argument; they begin right behind it. `firstKey` and `lastKey` then say nothing. */
  readonly countAt?: number;
  /** Only the command's options say where: of STORE of SORT. `firstKey`, `lastKey` and `step` then say nothing. */
  readonly isUnknown?: true;
  /** What happens to them: `RO access`, `OW update`, … in the words of COMMAND INFO. */
  readonly flags: readonly string[];
}

/** A command as it arrives: `args[0]` is its name, in any case. */
export type CommandArgs = readonly Bytes[];
