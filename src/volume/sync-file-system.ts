import { execFile } from 'node:child_process';
import { release } from 'node:os';

/**
 * Makes everything written to the file system of a directory durable with one system call (syncfs, by coreutils' `sync -f`), which for
 * hundreds of new files is many times cheaper than a sync of each. Those who ask while one runs share the next.
 *
 * Only on Linux 5.8 and newer, where syncfs reports write errors; elsewhere, and when the command is missing, callers sync file by file.
 */
export class FileSystemSyncer {
  readonly #dir: string;
  #isSupported = process.platform === 'linux' && isAtLeast(release(), 5, 8);
  #running: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  get isSupported(): boolean {
    return this.#isSupported;
  }

  /** Whether all that was written before the call is durable; false when this machine cannot do it. @throws on a write error */
  sync(): Promise<boolean> {
    if (!this.#isSupported) return Promise.resolve(false);
    if (this.#running === undefined) return this.#start();
    this.#next ??= this.#running.then(
      () => this.#startNext(),
      () => this.#startNext(),
    );
    return this.#next;
  }

  #startNext(): Promise<boolean> {
    this.#next = undefined;
    return this.#start();
  }

  #start(): Promise<boolean> {
    const run = this.#syncfs().finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }

  #syncfs(): Promise<boolean> {
    return new Promise((resolve, reject) => {
      execFile('sync', ['-f', '--', this.#dir], { timeout: 300_000 }, (error, _stdout, stderr) => {
        if (error === null) resolve(true);
        else if (error.code === 'ENOENT' || /(unrecognized|invalid) option/.test(stderr)) {
          this.#isSupported = false;
          resolve(false);
        } else reject(new Error(`sync -f ${this.#dir} failed: ${stderr.trim() || error.message}`));
      });
    });
  }
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split('.').map(Number);
  return first > major || (first === major && second >= minor);
}
