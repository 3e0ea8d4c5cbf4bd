import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { projectFiles, read } from './tree.ts';

/** Top to bottom as docs/architecture.md draws it: a folder imports only itself and folders above it. */
const ORDER = [
  'base',
  'partition',
  'shard',
  'storage',
  'log',
  'transport',
  'nats',
  'node',
  'door',
  'resp',
  'http',
  'pool',
  'volume',
  'cli',
];
const DOORS = ['resp', 'http', 'pool', 'volume'];
const PURE = ['base', 'partition', 'shard'];
/** Each room of the command line, and the rooms beside `terminal` and `client` that it imports from. */
const CLI_ROOMS: Readonly<Record<string, readonly string[]>> = {
  terminal: [],
  client: [],
  serve: [],
  up: [],
  shards: [],
  cluster: ['shards'],
  records: [],
  backup: [],
  placement: [],
  pool: [],
  volume: ['records'],
};
/** Pure and shared by all who speak the Redis protocol. */
const RESP_CODEC = 'src/resp/codec/';

const isTest = (path: string): boolean => /\.(test|conformance)\.ts$/.test(path);
const sources = projectFiles().filter((path) => path.startsWith('src/') && path.endsWith('.ts'));
const shipped = sources.filter((path) => !isTest(path));
const folderOf = (path: string): string => path.split('/')[1]!;

/** Import and export-from specifiers, type-only ones included: they too say who knows whom. */
function specifiers(path: string): string[] {
  return [
    ...read(path).matchAll(
      /^\s*(?:import|export)\b[^;'"]*?\bfrom\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]/gm,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

function importsOf(path: string): { readonly specifier: string; readonly target: string }[] {
  return specifiers(path).map((specifier) => ({
    specifier,
    target: specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : specifier,
  }));
}

/** Code without comments and strings, so that words in prose do not count. */
function bareCode(path: string): string {
  return read(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1')
    .replace(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, "''");
}

describe('the order of imports', () => {
  test('every source folder has its place in the order', () => {
    expect([...new Set(sources.map(folderOf))].filter((folder) => !ORDER.includes(folder) && folder.indexOf('.') < 0)).toEqual([]);
  });

  test('a folder imports only from itself and from folders above it, and doors never from each other', () => {
    const wrong: string[] = [];
    for (const path of sources) {
      const from = folderOf(path);
      for (const { target } of importsOf(path)) {
        if (!target.startsWith('src/')) continue;
        const to = folderOf(target);
        if (to === from) continue;
        const down = ORDER.indexOf(to) > ORDER.indexOf(from);
        const acrossDoors = DOORS.includes(from) && DOORS.includes(to) && !target.startsWith(RESP_CODEC);
        if (down || acrossDoors) wrong.push(`${path} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('the command line has its commands in rooms, which know the rooms they stand on and no other', () => {
    const roomOf = (path: string): string | undefined => /^src\/cli\/([^/]+)\/[^/]+$/.exec(path)?.[1];
    const wrong: string[] = [];
    for (const path of sources) {
      const from = roomOf(path);
      if (from === undefined) continue;
      if (!(from in CLI_ROOMS)) wrong.push(`${path} is in a room that has no place in the order`);
      const base = from === 'terminal' ? [] : from === 'client' ? ['terminal'] : ['terminal', 'client'];
      for (const { target } of importsOf(path)) {
        if (!target.startsWith('src/cli/')) continue;
        const to = roomOf(target);
        if (to !== from && !(to !== undefined && [...base, ...(CLI_ROOMS[from] ?? [])].includes(to)))
          wrong.push(`${path} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('nothing in src/ imports sim/, test/ or bench/, and no import leaves the project', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path)
        .filter(
          ({ specifier, target }) =>
            specifier.startsWith('.') && !target.startsWith('src/') && !(isTest(path) && target.startsWith('test/')),
        )
        .map(({ target }) => `${path} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  test('what ships imports packages that package.json declares as dependencies', () => {
    const declared = new Set(Object.keys((JSON.parse(read('package.json')) as { dependencies: object }).dependencies));
    const wrong = shipped.flatMap((path) =>
      importsOf(path)
        .filter(({ specifier }) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
        .map(({ specifier }) =>
          specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/'),
        )
        .filter((name) => !declared.has(name))
        .map((name) => `${path} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test('relative imports name the file, ending included', () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path)
        .filter(({ specifier }) => specifier.startsWith('.') && !/\.(ts|json)$/.test(specifier))
        .map(({ specifier }) => `${path}: ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('the pure core', () => {
  const pure = shipped.filter((path) => PURE.includes(folderOf(path)) || path.startsWith(RESP_CODEC));

  test('has no node:* module and no Node global', () => {
    const wrong = pure.flatMap((path) => [
      ...importsOf(path)
        .filter(({ specifier }) => specifier.startsWith('node:'))
        .map(({ specifier }) => `${path} imports ${specifier}`),
      ...[
        ...bareCode(path).matchAll(/\b(process\.\w+|Buffer\.\w+|require\(|__dirname|setTimeout|setInterval|setImmediate|queueMicrotask)/g),
      ].map((match) => `${path} uses ${match[0]}`),
    ]);
    expect(wrong).toEqual([]);
  });

  test('asks for no time and no chance', () => {
    const wrong = pure.flatMap((path) =>
      [...bareCode(path).matchAll(/\b(Date\.now|new Date\(\)|performance\.now|Math\.random|crypto\.\w+|randomUUID|hrtime)/g)].map(
        (match) => `${path} uses ${match[0]}`,
      ),
    );
    expect(wrong).toEqual([]);
  });

  test('awaits nothing', () => {
    const wrong = pure.filter((path) => /\b(await|async|Promise)\b/.test(bareCode(path)));
    expect(wrong).toEqual([]);
  });

  test('the main entry reaches no package at all', () => {
    const seen = new Set<string>();
    const packages: string[] = [];
    const visit = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      for (const { specifier, target } of importsOf(path)) {
        if (specifier.startsWith('.')) visit(target);
        else packages.push(`${path} imports ${specifier}`);
      }
    };
    visit('src/partition/index.ts');
    expect(seen.size).toBeGreaterThan(10);
    expect(packages).toEqual([]);
  });

  test('the partitioning library needs no package at run time, but for the hashes of keyfleet/hashes', () => {
    const wrong = shipped
      .filter((path) => ['base', 'partition'].includes(folderOf(path)))
      .flatMap((path) => importsOf(path).map(({ specifier }) => ({ path, specifier })))
      .filter(
        ({ path, specifier }) =>
          !specifier.startsWith('.') && !(path.startsWith('src/partition/hash/') && specifier.startsWith('@noble/hashes/')),
      )
      .map(({ path, specifier }) => `${path} imports ${specifier}`);
    expect(wrong).toEqual([]);
  });
});
