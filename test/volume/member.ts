import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const BIN = fileURLToPath(new URL('../../dist/cli/keyfleet.cjs', import.meta.url));

/** One process of the fleet, killed and started again on the same port and directory. */
export class Member {
  readonly #args: readonly string[];
  readonly port: number;
  #child: ChildProcess | undefined;
  output = '';

  constructor(args: readonly string[], port: number) {
    this.#args = args;
    this.port = port;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [BIN, ...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (piece: Buffer) => {
        this.output = (this.output + piece.toString()).slice(-4_000);
      });
    }
    for (let tries = 0; tries < 400; tries++) {
      if (child.exitCode !== null) throw new Error(`${this.#args.join(' ')} ended with ${child.exitCode}: ${this.output}`);
      const healthy = await fetch(`http://127.0.0.1:${this.port}/healthz`).then(
        (response) => response.ok,
        () => false,
      );
      if (healthy) return;
      await sleep(50);
    }
    throw new Error(`${this.#args.join(' ')} did not come up: ${this.output}`);
  }

  /** Largest resident memory so far, in bytes; undefined where the system does not say. */
  peakMemoryBytes(): number | undefined {
    try {
      const kib = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#child?.pid}/status`, 'utf8'))?.[1];
      return kib === undefined ? undefined : Number(kib) * 1_024;
    } catch {
      return undefined;
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs a command of `keyfleet` to its end. @throws when it fails */
export function runKeyfleet(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (output += piece.toString()));
    child.once('exit', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`keyfleet ${args.join(' ')} ended with ${code}: ${output.slice(-2_000)}`)),
    );
  });
}

/** A master over `count` volumes, not started, with their configurations in `dir`. */
export async function makeFleet(
  dir: string,
  count: number,
): Promise<{ readonly volumes: Member[]; readonly master: Member; readonly url: string; readonly addresses: string[] }> {
  const volumes: Member[] = [];
  for (let index = 0; index < count; index++) {
    const port = await freePort();
    const config = join(dir, `volume-${index}.yml`);
    await writeFile(config, `port: ${port}\npath: ./volume-${index}\n`);
    volumes.push(new Member(['volume', '--config', config], port));
  }
  const addresses = volumes.map(({ port }) => `http://127.0.0.1:${port}`);
  const port = await freePort();
  await writeFile(join(dir, 'master.yml'), `port: ${port}\nvolumes:\n${addresses.map((address) => `  - ${address}\n`).join('')}`);
  return { volumes, addresses, master: new Member(['master', '--config', join(dir, 'master.yml')], port), url: `http://127.0.0.1:${port}` };
}
