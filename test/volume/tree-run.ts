import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIB } from '../../src/base/units.ts';
import { makeFleet, runKeyfleet } from './member.ts';

export interface TreeReport {
  readonly importSeconds: number;
  readonly exportSeconds: number;
  /** Whether the tree that came back has the same names and bytes. */
  readonly same: boolean;
  readonly masterPeakBytes: number | undefined;
  readonly volumePeakBytes: number | undefined;
  readonly importOutput: string;
}

/** Makes a tree of many small files and one large one, stores it through a master over three volumes, fetches it back and compares. */
export async function treeRun(options: { readonly files: number; readonly largeBytes: number }): Promise<TreeReport> {
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-tree-'));
  const { volumes, master, url } = await makeFleet(dir, 3);
  try {
    await makeTree(join(dir, 'tree'), options);
    for (const volume of volumes) await volume.start();
    await master.start();
    const startMs = Date.now();
    const importOutput = await runKeyfleet(['import', '--dir', join(dir, 'tree'), '--url', url]);
    const importedMs = Date.now();
    await runKeyfleet(['export', '--dir', join(dir, 'copy'), '--url', url]);
    const exportedMs = Date.now();
    const [before, after] = await Promise.all([digestTree(join(dir, 'tree')), digestTree(join(dir, 'copy'))]);
    return {
      importSeconds: (importedMs - startMs) / 1_000,
      exportSeconds: (exportedMs - importedMs) / 1_000,
      same: before === after,
      masterPeakBytes: master.peakMemoryBytes(),
      volumePeakBytes: Math.max(...volumes.map((volume) => volume.peakMemoryBytes() ?? 0)),
      importOutput,
    };
  } finally {
    await master.kill();
    for (const volume of volumes) await volume.kill();
    await rm(dir, { recursive: true, force: true });
  }
}

async function makeTree(dir: string, { files, largeBytes }: { readonly files: number; readonly largeBytes: number }): Promise<void> {
  for (let index = 0; index < files; index++) {
    const folder = join(dir, `folder ${index % 100}`);
    if (index < 100) await mkdir(folder, { recursive: true });
    await writeFile(join(folder, `file ${index} ä.txt`), `${index} `.repeat(index % 50));
  }
  const large = await open(join(dir, 'large.bin'), 'w');
  const piece = createHash('sha512').update('keyfleet').digest();
  const block = Buffer.alloc(MIB, piece);
  for (let at = 0; at < largeBytes; at += MIB) {
    block.writeDoubleBE(at, 0);
    await large.write(block, 0, Math.min(MIB, largeBytes - at));
  }
  await large.close();
}

/** One digest of all names and bytes below a directory. */
export async function digestTree(dir: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(dir, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const name of names.sort()) {
    hash.update(name.slice(dir.length)).update('\0');
    for await (const piece of createReadStream(name, { highWaterMark: MIB })) hash.update(piece as Buffer);
  }
  return hash.digest('hex');
}
