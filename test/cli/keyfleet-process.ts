import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = join(root, 'dist', 'cli', 'main.js');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A `keyfleet` process of the built package, as users run it. */
export class KeyfleetProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  readonly #chunks: Buffer[] = [];

  constructor(args: readonly string[], options: { readonly cwd?: string; readonly stdin?: string | Buffer } = {}) {
    if (!existsSync(main)) throw new Error('dist/ is not built: npm run build');
    this.child = spawn(process.execPath, [main, ...args], { cwd: options.cwd ?? root, stdio: 'pipe' });
    this.child.stdout!.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.stdout += chunk.toString('utf8');
    });
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString('utf8');
    });
    this.child.stdin!.on('error', () => {});
    if (options.stdin !== undefined) this.child.stdin!.end(options.stdin);
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }));
    });
  }

  get stdoutBytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  kill(signal: NodeJS.Signals): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }
}

/** Runs a command to its end. */
export function keyfleet(
  args: readonly string[],
  options: { readonly cwd?: string; readonly stdin?: string | Buffer } = {},
): Promise<Ended> {
  return new KeyfleetProcess(args, options).ended;
}

export class KeyfleetServer extends KeyfleetProcess {
  /** Serves `dir` on ports of the system's choice unless `args` says others; resolves when it is up. */
  static async start(dir: string, args: readonly string[] = []): Promise<KeyfleetServer> {
    const server = new KeyfleetServer(['serve', '--dir', dir, '--resp', '0', '--http', '0', ...args]);
    const deadlineMs = Date.now() + 20_000;
    let hasEnded = false;
    void server.ended.then(() => {
      hasEnded = true;
    });
    while (!server.stdout.includes('Ctrl-C ends it.')) {
      if (hasEnded || Date.now() > deadlineMs) {
        const what = hasEnded ? `ended with ${server.child.exitCode}` : 'did not come up within 20 s';
        server.child.kill('SIGKILL');
        throw new Error(`the server ${what}:\n${server.stdout}\n${server.stderr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return server;
  }

  get respPort(): number {
    return Number(/Redis protocol {2}\S+:(\d+)/.exec(this.stdout)![1]);
  }

  get httpPort(): number {
    return Number(/HTTP\s+http:\/\/\S+:(\d+)/.exec(this.stdout)![1]);
  }

  get url(): string {
    return `http://127.0.0.1:${this.httpPort}`;
  }
}
