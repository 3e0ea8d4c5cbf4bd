import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GIB } from '../../src/base/units.ts';
import { read } from '../house/tree.ts';
import { KeyfleetServer, keyfleet } from './keyfleet-process.ts';

const docs = read('docs/modules.md');
/** A project with keyfleet installed and the files of docs/modules.md in it. */
let project: string;
const started: KeyfleetServer[] = [];

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'keyfleet-modules-'));
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(fileURLToPath(new URL('../..', import.meta.url)), join(project, 'node_modules', 'keyfleet'));
  writeFileSync(join(project, 'package.json'), '{"type":"module"}');
  for (const [, name, code] of docs.matchAll(/```js\n\/\/ (\S+\.js)\n(.*?)```/gs)) writeFileSync(join(project, name!), code!);
});
afterAll(async () => {
  for (const server of started) if (server.child.exitCode === null) await server.kill('SIGKILL');
  rmSync(project, { recursive: true, force: true });
});

async function serve(dir: string, args: readonly string[]): Promise<KeyfleetServer> {
  const server = await KeyfleetServer.start(join(project, dir), args);
  started.push(server);
  return server;
}

const run = (command: string, args: readonly string[]): Promise<string> =>
  promisify(execFile)(command, args, { cwd: project, timeout: 30_000 }).then(({ stdout }) => stdout);

describe('docs/modules.md', () => {
  test.each(['shop.js', 'documents.js'])('%s prints what it says', async (name) => {
    const code = docs.split(`// ${name}\n`)[1]!.split('```')[0]!;
    const says = [...code.matchAll(/^console\.log\(.*\); \/\/ (.*)$/gm)].map(([, line]) => line);
    expect(says.length).toBeGreaterThan(1);
    expect((await run(process.execPath, [name])).trimEnd().split('\n')).toEqual(says);
  });

  test('is served by HTTP as it says', { timeout: 60_000 }, async () => {
    const block = docs.split('```sh\n')[1]!.split('```')[0]!.replaceAll('\n  ', ' ').trim().split('\n');
    const [command, call, ...lines] = block as [string, string, ...string[]];
    expect(command).toBe('keyfleet serve --module ./cart-module.js');
    const server = await serve('served', ['--module', join(project, 'cart-module.js')]);
    for (const line of lines) {
      const [asked, says] = line.split(/ +# /) as [string, string];
      const answer = await run('bash', ['-c', `${call.replace('http://127.0.0.1:7380', server.url)}\n${asked}`]);
      expect(`${asked} ${answer}`).toBe(`${asked} ${says}`);
    }
    expect(lines).toHaveLength(4);
    await server.kill('SIGTERM');
  });
});

describe('a served value module', () => {
  test('may be a ready-made one, by its name', { timeout: 60_000 }, async () => {
    const server = await serve('ready', ['--module', 'visits=counter', 'json']);
    const call = async (path: string, body: unknown): Promise<unknown> => {
      const headers = { 'content-type': 'application/json' };
      return (await fetch(`${server.url}/v1/keyspaces/${path}`, { method: 'POST', headers, body: JSON.stringify(body) })).json();
    };
    expect(await call('visits/command', { key: 'home', command: { kind: 'add', by: 3 } })).toMatchObject({ reply: 3 });
    expect(await call('json/command', { key: 'anna', command: { kind: 'set', value: { city: 'Berlin' } } })).toBeDefined();
    expect(await call('json/query', { key: 'anna', query: { pointer: '/city' } })).toMatchObject({ answer: 'Berlin' });
    await server.kill('SIGKILL');
    const again = await serve('ready', []);
    const answer = await fetch(`${again.url}/v1/keyspaces/visits/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ key: 'home', query: null }),
    });
    expect(await answer.json()).toMatchObject({ answer: 3 });
    await again.kill('SIGTERM');
  });

  const call = async (server: KeyfleetServer, path: string, body: unknown): Promise<[number, unknown]> => {
    const answer = await fetch(`${server.url}/v1/keyspaces/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return [answer.status, await answer.json()];
  };
  const add = { key: 'anna', command: { kind: 'add', sku: 'tea', count: 2 } };

  test('keeps its keyspace over a restart, also one without the module, and says what is wrong', { timeout: 60_000 }, async () => {
    const args = ['--check-modules', '--shards', '3', '--module', `carts=${join(project, 'cart-module.js')}`];
    const first = await serve('kept', args);
    const shards = await (await fetch(`${first.url}/v1/keyspaces/carts/shards`)).json();
    expect(shards).toMatchObject({ shards: [{}, {}, {}], policy: { minShards: 3, maxKeysPerShard: 4_000_000, maxBytesPerShard: 4 * GIB } });
    expect(await call(first, 'carts/command', add)).toEqual([200, { reply: 2 }]);
    expect(await call(first, 'carts/command', { key: 'anna', command: { kind: 'nothing' } })).toMatchObject([
      400,
      { error: { code: 'KF_BAD_COMMAND' } },
    ]);
    expect(await call(first, 'carts/command', 'not json')).toMatchObject([400, { error: { code: 'KF_BAD_RECORD' } }]);
    expect(await call(first, 'default/command', add)).toMatchObject([409, { error: { code: 'KF_NOT_SUPPORTED' } }]);
    expect((await fetch(`${first.url}/v1/keyspaces/carts/keys/anna`)).status).toBe(409);
    expect(await (await fetch(`${first.url}/v1/keyspaces/carts/scan`)).text()).toContain('"key":"anna","type":"cart"');
    await first.kill('SIGKILL');
    const without = await serve('kept', []);
    const missing = {
      code: 'KF_MODULE_MISSING',
      message: 'keyspace carts is there, and its value module cart was not given to this server (--module)',
    };
    expect(await call(without, 'carts/command', add)).toEqual([409, { error: missing }]);
    expect((await keyfleet(['shards', '--keyspace', 'carts', '--url', without.url])).stderr).toContain(
      `KF_MODULE_MISSING: ${missing.message}`,
    );
    expect(await call(without, 'nowhere/command', add)).toMatchObject([404, { error: { code: 'KF_NO_KEYSPACE' } }]);
    await without.kill('SIGTERM');
    expect(without.stderr).toContain('its value module was not given');
    const again = await serve('kept', args);
    expect(await call(again, 'carts/query', { key: 'anna' })).toEqual([200, { answer: { tea: 2 } }]);
    await again.kill('SIGTERM');
  });

  test('that cannot be loaded, or would take another`s place, ends the start with its reason', { timeout: 60_000 }, async () => {
    writeFileSync(join(project, 'no-module.js'), 'export default { name: "x" };');
    writeFileSync(join(project, 'broken.js'), '\nnot code (');
    const start = (...modules: string[]) =>
      keyfleet(['serve', '--dir', join(project, 'never'), '--resp', '0', '--http', '0', ...modules.flatMap((one) => ['--module', one])], {
        cwd: project,
      });
    expect((await start('./none.js')).stderr).toContain('KF_BAD_MODULE: cannot load the value module ./none.js');
    expect((await start('./broken.js')).stderr).toMatch(
      /KF_BAD_MODULE: .* module \.\/broken\.js: .* \(node --check \.\/broken\.js shows where\)$/m,
    );
    expect((await start('./no-module.js')).stderr).toContain('KF_BAD_MODULE: the value module x has no function command');
    expect((await start('./cart-module.js', './cart-module.js')).stderr).toContain('there is a keyspace cart already');
  });
});
