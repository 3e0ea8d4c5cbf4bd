import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from './house/tree.ts';

// What users get: the packed tarball, unpacked into the node_modules of another project, beside links to the packages it depends on.

interface Manifest {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

let project: string;
let installed: string;
let manifest: Manifest;

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'keyfleet-package-'));
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], {
    cwd: root,
    encoding: 'utf8',
  });
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf('['))) as [{ filename: string }];
  installed = join(project, 'node_modules', 'keyfleet');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(project, filename), '-C', installed, '--strip-components=1']);
  manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest;
  for (const name of [...Object.keys(manifest.dependencies), '@types/node']) {
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), link);
  }
  writeFileSync(join(project, 'package.json'), '{"name":"consumer","type":"module"}');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

/** Compiles a file of the consumer's project, strictly, declarations of the package included, and gives the errors. */
function compile(file: string): { readonly stdout: string } {
  const tsconfig = {
    compilerOptions: {
      target: 'ES2022',
      lib: ['ES2023', 'ESNext.Disposable'],
      module: 'NodeNext',
      moduleResolution: 'NodeNext',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      types: ['node'],
      outDir: 'out',
    },
    files: [file],
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(tsconfig));
  const { stdout } = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'], {
    cwd: project,
    encoding: 'utf8',
  });
  // The declarations of the NATS client do not hold under exactOptionalPropertyTypes, whoever uses them; an error's further lines are indented.
  return { stdout: stdout.replace(/^\S*node_modules\/@nats-io\/.*\n(?:[ \t].*\n)*/gm, '') };
}

const modules = (): string[] =>
  Object.entries(manifest.exports).flatMap(([path, target]) => (typeof target === 'string' ? [] : [path.replace(/^\./, 'keyfleet')]));

test('the package holds the built files and the documents, and no tests or sources', () => {
  for (const path of ['README.md', 'LICENSE', 'CHANGELOG.md', 'docs/cli.md', 'docs/http.md', 'dist/cli/main.js']) {
    expect([path, existsSync(join(installed, path))]).toEqual([path, true]);
  }
  const all = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  expect(all.filter((path) => /\.(test|conformance|bench)\.|^(src|test|bench|node_modules)\b/.test(path))).toEqual([]);
});

test('every export resolves at run time and has its types', () => {
  for (const [path, target] of Object.entries(manifest.exports)) {
    const files = typeof target === 'string' ? [target] : [target.types, target.default];
    expect([path, files.filter((file) => !existsSync(join(installed, file)))]).toEqual([path, []]);
  }
  expect(modules()).toContain('keyfleet');
  const script = modules().map(
    (name) => `console.log(${JSON.stringify(name)}, Object.keys(await import(${JSON.stringify(name)})).length > 0);`,
  );
  writeFileSync(join(project, 'run.mjs'), script.join('\n'));
  const output = execFileSync(process.execPath, ['run.mjs'], { cwd: project, encoding: 'utf8' });
  expect(output.trimEnd().split('\n')).toEqual(modules().map((name) => `${name} true`));
});

test('a consumer in strict TypeScript compiles against every export, and runs', () => {
  writeFileSync(
    join(project, 'consumer.ts'),
    `${modules()
      .map((name, i) => `import * as m${i} from '${name}';`)
      .join('\n')}
import { murmur3_x86_128 } from 'keyfleet';
import { MemoryStorage, openStore, plain, plainBytes } from 'keyfleet/store';
const position: number = murmur3_x86_128.position('a');
await using store = await openStore({ storage: new MemoryStorage(), keyspaces: { files: { module: plainBytes } } });
const files = store.keyspace('files');
await files.command('a', plain.set(new Uint8Array([1])));
console.log(position > 0, files.keyCount, [${modules().map((_, i) => `m${i}`)}].length);
`,
  );
  const compiled = compile('consumer.ts');
  expect(compiled.stdout).toBe('');
  const ran = execFileSync(process.execPath, ['out/consumer.js'], { cwd: project, encoding: 'utf8' });
  expect(ran).toBe(`true 1 ${modules().length}\n`);
});

test('the TypeScript of README.md compiles and does what it says', () => {
  const blocks = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!);
  expect(blocks.length).toBeGreaterThanOrEqual(2);
  const outputs = blocks.map((block, i) => {
    writeFileSync(join(project, `readme${i}.ts`), block);
    expect(compile(`readme${i}.ts`).stdout).toBe('');
    return execFileSync(process.execPath, [`out/readme${i}.js`], { cwd: project, encoding: 'utf8' });
  });
  expect(outputs[0]).toBe('Anna, Berlin\n');
  expect(outputs[1]).toMatch(/^\[ 'cache-[abc]', 'cache-[abc]' \]\n$/);
  expect(outputs[2]).toBe('true\n3\n');
});

test('its command runs', () => {
  const bin = join(installed, manifest.bin['keyfleet']!);
  expect(readFileSync(bin, 'utf8').split('\n', 1)[0]).toBe('#!/usr/bin/env node');
  expect(execFileSync(process.execPath, [bin, '--version'], { encoding: 'utf8' })).toBe(`${manifest.version}\n`);
});
