import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStorage } from '../../src/storage/memory.ts';
import { type MasterServer, type MasterServerOptions, startMasterServer } from '../../src/volume/master-server.ts';
import { VolumeClient } from '../../src/volume/volume-client.ts';
import { startVolumeServer, type VolumeServer } from '../../src/volume/volume-server.ts';

/** A master and its volumes in this process, over real HTTP and files. */
export class Fleet {
  readonly dirs: string[] = [];
  readonly volumes: VolumeServer[] = [];
  storage = new MemoryStorage();
  master: MasterServer | undefined;

  async addVolume(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'keyfleet-fleet-'));
    this.dirs.push(dir);
    this.volumes.push(await startVolumeServer({ path: dir, port: 0 }));
    return this.addressOf(this.volumes.length - 1);
  }

  addressOf(index: number): string {
    return `http://127.0.0.1:${this.volumes[index]!.port}`;
  }

  get addresses(): string[] {
    return this.volumes.map((_, index) => this.addressOf(index));
  }

  async start(options: Partial<MasterServerOptions> = {}): Promise<void> {
    this.master = await startMasterServer({
      storage: this.storage,
      port: 0,
      volumes: this.addresses,
      connectMs: 500,
      // A volume that is there answers in time on a busy machine too.
      answerMs: 20_000,
      ...options,
    });
  }

  get base(): string {
    return `http://127.0.0.1:${this.master!.port}`;
  }

  put(key: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${this.base}/set/${encodeURIComponent(key)}`, { method: 'PUT', body, headers });
  }

  /** Stores the same under many keys, all of which are answered with 200. */
  async putAll(keys: readonly string[], textOf: (key: string) => string): Promise<void> {
    const answers = await Promise.all(keys.map((key) => this.put(key, textOf(key))));
    for (const [index, { status }] of answers.entries())
      if (status !== 200) throw new Error(`PUT ${keys[index]} was answered with ${status}`);
  }

  async get(key: string): Promise<string | number> {
    const response = await fetch(`${this.base}/get/${encodeURIComponent(key)}`);
    const text = await response.text();
    return response.status === 200 ? text : response.status;
  }

  delete(key: string): Promise<Response> {
    return fetch(`${this.base}/delete/${encodeURIComponent(key)}`, { method: 'DELETE' });
  }

  async admin(path: string, body?: object): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${this.base}/admin/${path}`, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  async stopVolume(index: number): Promise<void> {
    await this.volumes[index]!.close();
  }

  /** As a killed process: running requests are cut, what is not on disk is gone. */
  async killVolume(index: number): Promise<number> {
    const { port } = this.volumes[index]!;
    await this.volumes[index]!.close(0);
    return port;
  }

  async reviveVolume(index: number, port: number): Promise<void> {
    this.volumes[index] = await startVolumeServer({ path: this.dirs[index]!, port });
  }

  /** The same volume again, at another port when none is given. */
  async restartVolume(index: number, port = 0): Promise<void> {
    this.volumes[index] = await startVolumeServer({ path: this.dirs[index]!, port });
  }

  async filesOn(index: number): Promise<number> {
    let count = 0;
    for (const folder of await readdir(join(this.dirs[index]!, 'values')))
      count += (await readdir(join(this.dirs[index]!, 'values', folder))).length;
    return count;
  }

  async stopMaster(): Promise<void> {
    const stopping = this.master;
    this.master = undefined;
    await stopping?.close();
    this.storage = this.storage.crash();
  }

  async close(): Promise<void> {
    await this.master?.close();
    for (const volume of this.volumes) await volume.close().catch(() => {});
    for (const dir of this.dirs) await rm(dir, { recursive: true, force: true });
  }
}

export const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `key ${index}`);

export async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: { code: string } }).error.code;
}

/** Waits until `what` is so. @throws when it is not within `limitMs` */
export async function eventually(what: () => Promise<boolean>, limitMs = 10_000): Promise<void> {
  for (const untilMs = Date.now() + limitMs; Date.now() < untilMs; ) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`it did not come to be within ${limitMs} ms`);
}

/** Lets the master's next write reach the volumes and dies before its metakey is durable. */
export async function dieInsideWrite(fleet: Fleet, key: string, value: string, index: number): Promise<void> {
  const { metakeys } = fleet.master!.master;
  const commit = metakeys.commit.bind(metakeys);
  let commits = 0;
  metakeys.commit = () => (++commits === 1 ? commit() : new Promise(() => {}));
  void fleet.put(key, value).catch(() => {});
  const volume = new VolumeClient(fleet.addressOf(index));
  await eventually(async () => (await volume.head(Buffer.from(key)))?.sizeBytes === value.length);
  await volume.close();
  fleet.storage = fleet.storage.crash();
}
