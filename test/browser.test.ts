import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { build } from 'esbuild';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HashRing } from '../src/partition/hash-ring.ts';
import { type Answers, answers, KEYS, NODES } from './browser/answers.ts';
import { root } from './house/tree.ts';

function chromiumPath(): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((dir) => join(dir, 'chromium'))
    .find((path) => existsSync(path));
}

/** Bundles for a browser; fails on anything a browser has not. */
async function bundle(entry: string): Promise<{ readonly code: string; readonly inputs: readonly string[] }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [join(root, entry)],
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'silent',
  });
  return { code: outputFiles[0]!.text, inputs: Object.keys(metafile.inputs) };
}

describe('the bundle of keyfleet', () => {
  test('holds our own pure code only: no package, no Node module', async () => {
    const { inputs } = await bundle('src/partition/index.ts');
    expect(inputs.filter((path) => !/^src\/(base|partition)\//.test(path))).toEqual([]);
    expect(inputs.length).toBeGreaterThan(20);
  });

  test('keeps only what is used: the ring alone does not bring the other algorithms', async () => {
    const { outputFiles } = await build({
      stdin: { contents: "export { HashRing } from './src/partition/index.ts';", resolveDir: root },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      minify: true,
    });
    const whole = await build({
      entryPoints: [join(root, 'src/partition/index.ts')],
      bundle: true,
      write: false,
      format: 'esm',
      minify: true,
    });
    expect(outputFiles[0]!.contents.length).toBeLessThan(whole.outputFiles[0]!.contents.length / 3);
  });
});

describe.skipIf(chromiumPath() === undefined)('in Chromium', () => {
  const profile = mkdtempSync(join(tmpdir(), 'keyfleet-chromium-'));
  let server: Server;
  let browser: BrowserContext;
  let page: Page;

  beforeAll(async () => {
    const files: Readonly<Record<string, readonly [string, string]>> = {
      '/': ['text/html', '<!doctype html><meta charset="utf-8"><script type="module" src="/page.js"></script>'],
      '/page.js': ['text/javascript', (await bundle('test/browser/page.ts')).code],
      '/worker.js': ['text/javascript', (await bundle('test/browser/worker.ts')).code],
    };
    server = createServer((request, response) => {
      const file = files[request.url ?? ''];
      response.writeHead(file ? 200 : 404, {
        'content-type': `${file?.[0] ?? 'text/plain'}; charset=utf-8`,
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      });
      response.end(file?.[1] ?? '');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launchPersistentContext(profile, {
      executablePath: chromiumPath()!,
      headless: true,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--no-first-run',
        '--disable-quic',
        '--disable-component-update',
        '--disable-sync',
      ],
      timeout: 40_000,
    });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction('window.answers !== undefined');
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await new Promise((resolve) => server.close(resolve));
    rmSync(profile, { recursive: true, force: true });
  });

  test('every algorithm and hash gives the answers it gives in Node', async () => {
    const here = answers();
    const there = (await page.evaluate('window.answers()')) as Answers;
    expect(Object.keys(there)).toEqual(Object.keys(here));
    for (const [name, found] of Object.entries(there)) expect([name, found]).toEqual([name, here[name]]);
    expect(Object.keys(here).length).toBeGreaterThan(30);
  });

  test('a web worker reads a ring that its page shares and changes', async () => {
    const ring = new HashRing(NODES);
    const half = KEYS.length / 2;
    const expected = KEYS.slice(0, half).map((key) => ring.owner(key).id);
    ring.remove('node-3');
    expected.push(...KEYS.slice(half).map((key) => ring.owner(key).id));
    expect(await page.evaluate('window.sharedWithWorker()')).toEqual(expected);
  });
});
