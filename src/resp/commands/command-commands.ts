import { fromUtf8, utf8 } from '../../base/bytes.ts';
import {
  COMMANDS,
  type CommandArgs,
  type CommandSpec,
  findCommand,
  isSpec,
  type KeySpec,
  keysOf,
  resolveCommand,
} from '../../shard/redis/command-table.ts';
import { SYNTAX_ERROR } from '../../shard/redis/error-replies.ts';
import { matchesGlob } from '../../shard/redis/glob.ts';
import { errorReply, type Reply } from '../../shard/redis/reply.ts';
import { keyFlagsOf } from '../../shard/redis/variable-key-flags.ts';
import { isWord } from '../codec/ascii.ts';
import { atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { bulk, help, status, statuses } from './reply-text.ts';

// COMMAND and its subcommands.

export const COMMAND_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['command', atOnce(() => [...COMMANDS.values()].map(describe))],
  ['command|count', atOnce(() => COMMANDS.size)],
  ['command|info', atOnce(info)],
  ['command|docs', atOnce(docs)],
  ['command|list', atOnce(list)],
  ['command|getkeys', atOnce(getKeys)],
  ['command|getkeysandflags', atOnce(getKeysAndFlags)],
  ['command|help', atOnce(({ door, spec }) => help(door.containerOf(spec)))],
];

/** `get` or `client|kill`. */
function lookUp(name: string): CommandSpec | undefined {
  const [parent, own] = name.toLowerCase().split('|') as [string, string?];
  const command = findCommand(utf8(parent));
  return own === undefined ? command : command?.subcommands.get(own);
}

function info({ args }: LocalCall): Reply {
  if (args.length === 2) return [...COMMANDS.values()].map(describe);
  return args.slice(2).map((name) => {
    const spec = lookUp(fromUtf8(name));
    return spec ? describe(spec) : null;
  });
}

function describe(spec: CommandSpec): Reply {
  return [
    bulk(spec.name),
    spec.arity,
    statuses(spec.flags),
    spec.firstKey,
    spec.lastKey,
    spec.keyStep,
    statuses(spec.aclCategories.map((category) => `@${category}`)),
    { kind: 'set', items: spec.tips.map(bulk) },
    { kind: 'set', items: spec.keySpecs.map(describeKeys) },
    { kind: 'set', items: [...spec.subcommands.values()].map(describe) },
  ];
}

/** Somewhere among the arguments. */
const UNKNOWN: Reply = {
  kind: 'map',
  pairs: [
    [bulk('type'), bulk('unknown')],
    [bulk('spec'), { kind: 'map', pairs: [] }],
  ],
};

function describeKeys(keys: KeySpec): Reply {
  if (keys.isUnknown) {
    return {
      kind: 'map',
      pairs: [
        [bulk('flags'), statuses(keys.flags)],
        [bulk('begin_search'), UNKNOWN],
        [bulk('find_keys'), UNKNOWN],
      ],
    };
  }
  return {
    kind: 'map',
    pairs: [
      [bulk('flags'), statuses(keys.flags)],
      [
        bulk('begin_search'),
        {
          kind: 'map',
          pairs: [
            [bulk('type'), bulk('index')],
            [bulk('spec'), { kind: 'map', pairs: [[bulk('index'), keys.countAt ?? keys.firstKey]] }],
          ],
        },
      ],
      [
        bulk('find_keys'),
        {
          kind: 'map',
          pairs: [
            [bulk('type'), bulk(keys.countAt === undefined ? 'range' : 'keynum')],
            [bulk('spec'), { kind: 'map', pairs: whereKeysEnd(keys) }],
          ],
        },
      ],
    ],
  };
}

function whereKeysEnd(keys: KeySpec): readonly [Reply, Reply][] {
  if (keys.countAt !== undefined) {
    return [
      [bulk('keynumidx'), 0],
      [bulk('firstkey'), 1],
      [bulk('keystep'), keys.step],
    ];
  }
  return [
    [bulk('lastkey'), keys.lastKey],
    [bulk('keystep'), keys.step],
    [bulk('limit'), 0],
  ];
}

function docs({ args }: LocalCall): Reply {
  const specs = args.length === 2 ? [...COMMANDS.values()] : args.slice(2).map((name) => lookUp(fromUtf8(name)));
  return { kind: 'map', pairs: specs.filter((spec) => spec !== undefined).map((spec) => [bulk(spec.name), explain(spec)]) };
}

function explain(spec: CommandSpec): Reply {
  const pairs: [Reply, Reply][] = [
    [bulk('summary'), bulk(spec.summary)],
    [bulk('since'), bulk(spec.since)],
    [bulk('group'), bulk(spec.group)],
    [bulk('complexity'), bulk(spec.complexity)],
  ];
  if (spec.subcommands.size > 0) {
    const subcommands = [...spec.subcommands.values()].map((one): [Reply, Reply] => [bulk(one.name), explain(one)]);
    pairs.push([bulk('subcommands'), { kind: 'map', pairs: subcommands }]);
  }
  return { kind: 'map', pairs };
}

function list({ args }: LocalCall): Reply {
  const names = [...COMMANDS.values()].flatMap((spec) => [spec, ...spec.subcommands.values()]);
  if (args.length === 2) return names.map((spec) => bulk(spec.name));
  if (args.length !== 5 || !isWord(args[2]!, 'filterby')) return SYNTAX_ERROR;
  const value = fromUtf8(args[4]!);
  let wanted: (spec: CommandSpec) => boolean;
  if (isWord(args[3]!, 'aclcat')) wanted = (spec) => spec.aclCategories.includes(value.toLowerCase());
  else if (isWord(args[3]!, 'pattern')) wanted = (spec) => matchesGlob(utf8(value.toLowerCase()), utf8(spec.name));
  // There are no modules.
  else if (isWord(args[3]!, 'module')) wanted = () => false;
  else return SYNTAX_ERROR;
  return names.filter(wanted).map((spec) => bulk(spec.name));
}

const INVALID_COMMAND = errorReply('ERR Invalid command specified');

/** The command that stands behind COMMAND GETKEYS, or the error that it deserves. */
function inner(args: CommandArgs): { readonly spec: CommandSpec; readonly args: CommandArgs } | Reply {
  const own = args.slice(2);
  if (!findCommand(own[0]!)) return INVALID_COMMAND;
  const spec = resolveCommand(own);
  if (!isSpec(spec)) {
    const isArity = spec.kind === 'error' && spec.text.includes('number of arguments');
    return isArity ? errorReply('ERR Invalid number of arguments specified for command') : INVALID_COMMAND;
  }
  if (spec.keySpecs.length === 0) return errorReply('ERR The command has no key arguments');
  return { spec, args: own };
}

/** The command says of its keys that they are more than it has. */
const NO_SUCH_KEYS = errorReply('ERR Invalid arguments specified for command');

function getKeys({ args }: LocalCall): Reply {
  const found = inner(args);
  if (!isInner(found)) return found;
  const keys = keysOf(found.spec, found.args);
  return keys.length === 0 ? NO_SUCH_KEYS : keys;
}

function getKeysAndFlags({ args }: LocalCall): Reply {
  const found = inner(args);
  if (!isInner(found)) return found;
  if (keysOf(found.spec, found.args).length === 0) return NO_SUCH_KEYS;
  return found.spec.keySpecs.flatMap((keySpec) =>
    keysOf({ ...found.spec, keySpecs: [keySpec] }, found.args).map(
      (key): Reply => [key, { kind: 'set', items: keyFlagsOf(found.spec, keySpec, found.args).map(status) }],
    ),
  );
}

function isInner(found: ReturnType<typeof inner>): found is { readonly spec: CommandSpec; readonly args: CommandArgs } {
  return typeof found === 'object' && found !== null && 'spec' in found;
}
