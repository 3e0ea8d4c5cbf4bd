import { assert } from '../../../base/assert.ts';
import type { CommandGroup, CommandRoute, CommandSpec, KeySpec } from './command-spec.ts';

// Rows of the command table, a command a line, columns parted by ` | ` and `-` for none:
//
//   name | arity | flags | ACL categories | route | key specs (first last step flags…, next spec) | tips | since | complexity | summary
//
// Key specs of the form `? flags…` stand wherever the options say.
// Key specs of the form `at keynum step flags…` have the number of their keys at `at`, and the keys behind it.
// A subcommand follows the command it belongs to.

/** Reads the rows of one group; indexes count on from `firstIndex`. */
export function parseRows(options: { readonly rows: string; readonly group: CommandGroup; readonly firstIndex: number }): CommandSpec[] {
  const commands: CommandSpec[] = [];
  let index = options.firstIndex;
  for (const line of options.rows.split('\n')) {
    if (line === '') continue;
    const subcommands = new Map<string, CommandSpec>();
    const spec = parseRow({ line, group: options.group, index, subcommands });
    index++;
    const [parent, own] = spec.name.split('|') as [string, string?];
    if (own === undefined) {
      commands.push(spec);
    } else {
      const container = commands.at(-1);
      assert(container?.name === parent, () => `${spec.name} does not follow ${parent}`);
      (container.subcommands as Map<string, CommandSpec>).set(own, spec);
    }
  }
  return commands;
}

function parseRow(options: {
  readonly line: string;
  readonly group: CommandGroup;
  readonly index: number;
  readonly subcommands: ReadonlyMap<string, CommandSpec>;
}): CommandSpec {
  const columns = options.line.split(' | ').map((column) => (column === '-' ? '' : column));
  assert(columns.length === 10, () => `ten columns wanted: ${options.line}`);
  const [name, arity, flags, acl, route, keys, tips, since, complexity, summary] = columns as [
    ...[string, string, string, string, string],
    ...[string, string, string, string, string],
  ];
  const keySpecs = keys === '' ? [] : keys.split(', ').map(parseKeySpec);
  const flagList = words(flags);
  const placed = keySpecs.filter((one) => one.countAt === undefined && !one.isUnknown);
  const first = placed[0];
  const last = placed.at(-1);
  const parsedRoute = parseRoute(route);
  return {
    index: options.index,
    name,
    group: options.group,
    arity: Number(arity),
    flags: flagList,
    aclCategories: words(acl),
    tips: words(tips),
    route: parsedRoute,
    access: isDoors(parsedRoute) ? 'none' : flagList.includes('write') ? 'write' : 'read',
    keySpecs,
    firstKey: first?.firstKey ?? 0,
    lastKey: last === undefined ? 0 : last.lastKey < 0 ? last.lastKey : last.firstKey + last.lastKey,
    keyStep: last?.step ?? 0,
    since,
    complexity,
    summary,
    subcommands: options.subcommands,
  };
}

function words(text: string): string[] {
  return text === '' ? [] : text.split(' ');
}

function parseKeySpec(text: string): KeySpec {
  if (text.startsWith('?')) return { firstKey: 0, lastKey: 0, step: 0, flags: text.split(' ').slice(1), isUnknown: true };
  const [first, last, step, ...flags] = text.split(' ');
  if (last === 'keynum') return { firstKey: Number(first) + 1, lastKey: 0, step: Number(step), flags, countAt: Number(first) };
  return { firstKey: Number(first), lastKey: Number(last), step: Number(step), flags };
}

function parseRoute(text: string): CommandRoute {
  switch (text) {
    case 'one-key':
    case 'keyspace':
    case 'connection':
    case 'server':
      return { kind: text };
    case 'one-slot':
      return { kind: 'many-keys-one-slot' };
    default: {
      const [kind, join] = text.split(' ');
      assert(kind === 'split' && (join === 'sum' || join === 'array' || join === 'ok'), () => `no such route: ${text}`);
      return { kind: 'split-and-join', join };
    }
  }
}

function isDoors(route: CommandRoute): boolean {
  return route.kind === 'keyspace' || route.kind === 'connection' || route.kind === 'server';
}
