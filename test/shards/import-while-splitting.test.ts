import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { root } from '../house/tree.ts';

const RECORDS = 200_000;
const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-import-'));
const cache = join(root, 'node_modules', '.cache', 'keyfleet-importer');
const importer = join(cache, 'importer.mjs');
beforeAll(async () => {
  mkdirSync(cache, { recursive: true });
  await build({
    entryPoints: [join(root, 'test', 'shards', 'importer.ts')],
    outfile: importer,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('an import of 200,000 records while one shard splits into sixteen', () => {
  test('that is killed again and again loses nothing that was acknowledged, and in the end every record is read back', {
    timeout: 240_000,
  }, async () => {
    const chance = new Prng(11);
    let acknowledged = 0;
    let kills = 0;
    while (true) {
      const killAfter = kills < 5 ? 1 + chance.below(45) : undefined;
      const ended = await run(join(scratch, 'killed'), acknowledged, killAfter);
      expect(ended.complaints).toEqual([]);
      acknowledged = ended.acknowledged;
      if (ended.shards !== undefined) {
        expect(ended).toMatchObject({ acknowledged: RECORDS, shards: 16 });
        break;
      }
      kills++;
    }
    expect(kills).toBeGreaterThan(2);
  });
});

interface Ended {
  readonly acknowledged: number;
  readonly complaints: readonly string[];
  /** Undefined: it was killed. */
  readonly shards: number | undefined;
}

/** Imports the rest; is killed once it has acknowledged so many thousands more. */
function run(dir: string, from: number, killAfter: number | undefined): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [importer, dir, String(RECORDS), String(from)], { timeout: 100_000, killSignal: 'SIGTERM' });
    let rest = '';
    let complaint = '';
    let acknowledged = from;
    let told = 0;
    let shards: number | undefined;
    const complaints: string[] = [];
    child.stdout.on('data', (bytes: Buffer) => {
      const lines = (rest + bytes.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith('lost')) complaints.push(line);
        else if (line.startsWith('done ')) shards = Number(line.slice(5));
        else {
          acknowledged = Number(line);
          if (++told === killAfter) child.kill('SIGKILL');
        }
      }
    });
    child.stderr.on('data', (bytes: Buffer) => {
      complaint += bytes.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve({ acknowledged, complaints, shards });
      else reject(new Error(`the import ended: code ${code}, signal ${signal}\n${complaint}`));
    });
  });
}
