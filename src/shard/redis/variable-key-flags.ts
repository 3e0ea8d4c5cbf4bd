import type { CommandArgs, CommandSpec, KeySpec } from './command-table.ts';
import { isWord } from './word.ts';

// SET and BITFIELD use their key one way or another, as their options say; COMMAND GETKEYSANDFLAGS looks at these.

const READS: readonly string[] = ['RO', 'access'];
const OVERWRITES: readonly string[] = ['OW', 'update'];
const CHANGES: readonly string[] = ['RW', 'access', 'update'];

/** What `args` does to the keys of `keySpec`, in the words of COMMAND INFO. */
export function keyFlagsOf(spec: CommandSpec, keySpec: KeySpec, args: CommandArgs): readonly string[] {
  if (spec.name === 'set') return args.slice(3).some((arg) => isWord(arg, 'GET')) ? CHANGES : OVERWRITES;
  if (spec.name === 'bitfield') return isReadOnlyBitField(args) ? READS : CHANGES;
  return keySpec.flags;
}

function isReadOnlyBitField(args: CommandArgs): boolean {
  for (let i = 2; i < args.length; ) {
    const left = args.length - i - 1;
    if (isWord(args[i]!, 'GET') && left >= 2) i += 3;
    else if (isWord(args[i]!, 'OVERFLOW') && left >= 1) i += 2;
    else return false;
  }
  return true;
}
