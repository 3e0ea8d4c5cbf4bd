import { createHash, type Hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { MIB } from '../../src/base/units.ts';
import { MasterClient } from '../../src/volume/master-client.ts';
import { makeFleet } from './member.ts';

export interface StreamReport {
  readonly sizeBytes: number;
  readonly putSeconds: number;
  readonly getSeconds: number;
  /** Whether the bytes that came back are those that went in. */
  readonly same: boolean;
  readonly masterPeakBytes: number | undefined;
  readonly volumePeakBytes: number | undefined;
}

/** Bytes made up as they are asked for, so that the only copy on disk is the volume's. */
async function* madeUp(sizeBytes: number, hash: Hash): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < sizeBytes; at += MIB) {
    const piece = Buffer.alloc(Math.min(MIB, sizeBytes - at), createHash('sha256').update(String(at)).digest());
    hash.update(piece);
    yield piece;
  }
}

/** One value of any size through a master to a volume and back, every byte compared; what the two processes needed for it. */
export async function streamRun({ sizeBytes }: { readonly sizeBytes: number }): Promise<StreamReport> {
  const dir = await mkdtemp(join(tmpdir(), 'keyfleet-stream-'));
  const { volumes, master, url } = await makeFleet(dir, 1);
  const client = new MasterClient(url);
  try {
    await volumes[0]!.start();
    await master.start();
    const startMs = Date.now();
    const sent = createHash('sha256');
    const told = await client.put(Buffer.from('large'), Readable.from(madeUp(sizeBytes, sent), { objectMode: false }), sizeBytes);
    const putMs = Date.now();
    const got = createHash('sha256');
    let gotBytes = 0;
    for await (const piece of await client.get(Buffer.from('large'))) {
      got.update(piece as Buffer);
      gotBytes += (piece as Buffer).length;
    }
    const digests = new Set([told, sent.digest('hex'), got.digest('hex')]);
    return {
      sizeBytes: gotBytes,
      putSeconds: (putMs - startMs) / 1_000,
      getSeconds: (Date.now() - putMs) / 1_000,
      same: digests.size === 1 && gotBytes === sizeBytes,
      masterPeakBytes: master.peakMemoryBytes(),
      volumePeakBytes: volumes[0]!.peakMemoryBytes(),
    };
  } finally {
    await client.close();
    await master.kill();
    await volumes[0]!.kill();
    await rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
