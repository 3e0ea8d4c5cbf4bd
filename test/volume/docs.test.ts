import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BIN, freePort } from './member.ts';

// What docs/volumes.md and the README tell people to type is typed here, into a shell, against real processes; only ports and the way to call
// keyfleet differ. Then every request of the table is made with curl.

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));
const README = 'A file to store, and to read again. '.repeat(10);
const PORTS = [3000, 3001, 3002, 3003, 3004] as const;

/** The sh blocks of a document that name a master or its volumes. */
async function blocksOf(document: string): Promise<string[]> {
  const text = await readFile(join(PROJECT, document), 'utf8');
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1]!).filter((block) => /keyfleet (master|volumes) /.test(block));
}

/** One shell in a directory of its own, in which sentences of the documents are typed. */
class Shell {
  readonly dir: string;
  readonly #ports: ReadonlyMap<number, number>;
  readonly #pids: number[] = [];

  constructor(dir: string, ports: ReadonlyMap<number, number>) {
    this.dir = dir;
    this.#ports = ports;
  }

  port(documented: number): number {
    return this.#ports.get(documented)!;
  }

  #here(text: string): string {
    let here = text.replaceAll(/\bnpx keyfleet\b/g, 'keyfleet').replaceAll('/usr/share/doc', './tree');
    here = here.replaceAll('"port: 300$n\\n', '"port: $(eval echo \\$port300$n)\\n');
    for (const port of PORTS) here = here.replaceAll(new RegExp(`\\b${port}\\b`, 'g'), String(this.port(port)));
    return here;
  }

  /** Types a script; resolves to what it wrote. Servers that it starts in the background live until {@link close}. @throws when it fails */
  async type(script: string): Promise<string> {
    const vars = PORTS.map((port) => `port${port}=${this.port(port)}`).join('; ');
    const prelude = `set -euo pipefail; ${vars}; export RAW_CURL="$(command -v curl)" PATH="$PWD/bin:$PATH"\n`;
    const child = spawn('bash', ['-c', `${prelude}${this.#here(script)}\nfor pid in $(jobs -p); do echo "$pid" >&3; done`], {
      cwd: this.dir,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    const texts = ['', '', '', ''];
    for (const [at, stream] of child.stdio.entries())
      if (at > 0) stream?.on('data', (piece: Buffer) => (texts[at] += piece.toString('latin1')));
    const code = await new Promise((resolve) => child.once('exit', resolve));
    this.#pids.push(...texts[3]!.split('\n').filter(Boolean).map(Number));
    if (code !== 0) throw new Error(`ended with ${String(code)}:\n${this.#here(script)}\n${texts[1]}\n${texts[2]}`);
    return texts[1]!;
  }

  async close(): Promise<void> {
    for (const pid of this.#pids) process.kill(pid, 'SIGKILL');
    await rm(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

async function openShell(): Promise<Shell> {
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-docs-'));
  const ports = new Map<number, number>();
  for (const port of PORTS) ports.set(port, await freePort());
  await writeFile(join(dir, 'README.md'), README);
  await mkdir(join(dir, 'bin'));
  const commands = [
    // The master is at its usual port, to those who name no other.
    [
      'keyfleet',
      `case "$1" in volumes | import | export) set -- "$@" --url http://127.0.0.1:${ports.get(3000)} ;; esac\nexec "${process.execPath}" "${BIN}" "$@"`,
    ],
    ['curl', 'exec "$RAW_CURL" -fsS "$@"'],
    ['rawcurl', 'exec "$RAW_CURL" "$@"'],
  ] as const;
  for (const [name, command] of commands) await writeFile(join(dir, 'bin', name), `#!/bin/sh\n${command}\n`, { mode: 0o755 });
  for (const name of ['tree', 'docs']) await cp(join(PROJECT, 'docs', 'protocol'), join(dir, name, 'protocol'), { recursive: true });
  return new Shell(dir, ports);
}

/** A block's lines up to the last server that it starts, and those after it. */
function startAndRest(block: string): readonly [string, string] {
  const lines = block.split('\n');
  const end = lines.findLastIndex((line) => /&( done)?\s*(#.*)?$/.test(line)) + 1;
  return [lines.slice(0, end).join('\n'), lines.slice(end).join('\n')];
}

const WAIT = 'for try in $(seq 300); do rawcurl -fs http://127.0.0.1:3000/readyz > ready && break; sleep 0.2; done; cat ready';

describe('docs/volumes.md', () => {
  let shell: Shell;
  let blocks: string[];
  beforeAll(async () => {
    shell = await openShell();
    blocks = await blocksOf('docs/volumes.md');
  });
  afterAll(() => shell.close());

  test('five minutes: three volumes, a master, curl, a tree in and out', async () => {
    expect(blocks.length).toBe(2);
    const [start, rest] = startAndRest(blocks[0]!);
    expect(await shell.type(`${start}\n${WAIT}`)).toContain('"ok"');
    const said = await shell.type(rest);
    expect(said).toContain(README);
    expect(said).toContain('{"deleted":true}');
    expect(said).toContain('one copy of each; moves: idle');
    expect(await readdir(join(shell.dir, 'copy'), { recursive: true })).toEqual(
      await readdir(join(shell.dir, 'tree'), { recursive: true }),
    );
  }, 60_000);

  test('a fourth volume, and one less', async () => {
    const [readable] = await readdir(join(shell.dir, 'tree', 'protocol'));
    await shell.type('printf "port: 3004\\npath: ./volume-4\\n" > volume-4.yml; keyfleet volume --config volume-4.yml > volume-4.log &');
    await shell.type(WAIT.replace('3000', '3004'));
    const said = await shell.type(blocks[1]!);
    expect(said).toContain('would move');
    expect(said).toContain(`http://127.0.0.1:${shell.port(3004)}`);
    expect(await shell.type(`curl http://127.0.0.1:3000/get/protocol/${readable}`)).toBe(
      await readFile(join(shell.dir, 'tree', 'protocol', readable!), 'latin1'),
    );
    expect(await readFile(join(shell.dir, 'master.yml'), 'utf8')).not.toContain(String(shell.port(3002)));
    const left = await readdir(join(shell.dir, 'volume-2', 'values'), { recursive: true, withFileTypes: true });
    expect(left.filter((entry) => entry.isFile())).toEqual([]);
  }, 60_000);

  test('the requests of the table', async () => {
    const url = 'http://127.0.0.1:3000';
    await writeFile(join(shell.dir, 'value'), 'hello, volumes');
    const sha = '$(sha256sum value | cut -d" " -f1)';
    const expected: readonly (readonly [command: string, said: string | RegExp])[] = [
      [`curl -T value -H "Content-Type: text/greeting" ${url}/set/a/b`, /^\{"sizeBytes":14,"sha256":"[0-9a-f]{64}"\}$/],
      [`curl -X POST --data-binary @value ${url}/set/posted; curl ${url}/get/posted`, /hello, volumes$/],
      [`curl ${url}/get/a/b`, 'hello, volumes'],
      [`curl -I ${url}/get/a/b | tr -d "\\r" | grep -i "^content-type"`, /text\/greeting/],
      [`curl -I ${url}/get/a/b | grep -ic "etag: .$(sha256sum value | cut -d" " -f1)"`, '1'],
      [`curl -r 7-13 ${url}/get/a/b`, 'volumes'],
      [`curl -r 7-13 -H 'If-Range: "other"' ${url}/get/a/b`, 'hello, volumes'],
      [`curl -o nothing -w '%{http_code}' -H "If-None-Match: \\"${sha}\\"" ${url}/get/a/b`, '304'],
      [`curl --path-as-is -T value ${url}/set/c/../b; curl --path-as-is ${url}/get/c/../b`, /hello, volumes$/],
      [`curl --path-as-is -X PUT --data-binary @value ${url}/set/..; curl --path-as-is ${url}/get/..`, /hello, volumes$/],
      [`curl -T value ${url}/set/%FF%00; curl ${url}/get/%ff%00`, /hello, volumes$/],
      [`curl ${url}/`, /"keyfleet":"master","keyCount":\d+,"volumeCount":3,"moves":"idle"/],
      [`curl "${url}/keys?prefix=a/"`, /^\{"key":"a\/b","sizeBytes":14,"sha256":"[0-9a-f]{64}"\}\n\{"end":true\}$/],
      [`curl ${url}/healthz; curl ${url}/readyz`, /ok[\s\S]*ok/],
      [`curl ${url}/metrics`, /keyfleet_master_keys \d+[\s\S]*keyfleet_volume_keys\{[\s\S]*keyfleet_moved_keys/],
      ['curl http://127.0.0.1:3001/metrics', /keyfleet_volume_server_/],
      [`curl ${url}/admin/status`, /"keyfleet":"master"/],
      [`curl -X DELETE ${url}/delete/a/b`, '{"deleted":true}'],
      [`rawcurl -s ${url}/get/a/b`, /^\{"error":\{"code":"KF_NOT_FOUND","message":"[^"]+"\}\}$/],
      [`rawcurl -s -H "Host: evil.example" ${url}/get/a/b`, /KF_HOST_REFUSED/],
      [`rawcurl -s -X DELETE -H "Origin: http://evil.example" ${url}/delete/posted`, /KF_ORIGIN_REFUSED/],
    ];
    for (const [command, said] of expected) {
      const answer = (await shell.type(command)).trimEnd();
      if (typeof said === 'string') expect(answer, command).toBe(said);
      else expect(answer, command).toMatch(said);
    }
  }, 60_000);
});

describe('README.md', () => {
  test('its volumes start, keep a file and take in a tree', async () => {
    const shell = await openShell();
    try {
      const blocks = await blocksOf('README.md');
      expect(blocks.length).toBe(1);
      const [start, rest] = startAndRest(blocks[0]!);
      expect(await shell.type(`${start}\n${WAIT}`)).toContain('"ok"');
      const said = await shell.type(rest);
      expect(said).toContain(README);
      expect(said).toMatch(/stored and compared[\s\S]*moves: idle/);
    } finally {
      await shell.close();
    }
  }, 60_000);
});
