import { type ChildProcess, spawn } from 'node:child_process';
import { release } from 'node:os';

/** Syncs once for each line it is given and answers with a line: nothing, or the exit code and what `sync` complained of. Ends with its input. */
const SCRIPT = `set -f; trap '' INT TERM HUP
while read -r _; do
  if complaint=$(LC_ALL=C sync -f -- "$1" 2>&1 </dev/null); then echo; else echo $? $complaint; fi
done`;
const TIMEOUT_MS = 300_000;
/** Of a shell that has no such command. */
const NOT_FOUND = 127;

/**
 * Makes everything written to the file system of a directory durable with one system call (syncfs, by coreutils' `sync -f`), which for
 * hundreds of new files is many times cheaper than a sync of each. Those who ask while one runs share the next.
 *
 * A small shell stands by to run the command: to start a process from this large one would cost it some milliseconds each time.
 *
 * Only on Linux 5.8 and newer, where syncfs reports write errors; elsewhere, and when the command is missing, callers sync file by file.
 */
export class FileSystemSyncer {
  readonly #dir: string;
  #isSupported = process.platform === 'linux' && isAtLeast(release(), 5, 8);
  #shell: Shell | undefined;
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

  /** Lets the shell go; the next sync would start another. */
  close(): void {
    this.#shell?.end();
    this.#shell = undefined;
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

  async #syncfs(): Promise<boolean> {
    if (this.#shell?.hasEnded !== false) this.#shell = new Shell(this.#dir);
    const answer = await this.#shell.ask();
    if (answer === '') return true;
    const [code] = answer.split(' ', 1);
    if (Number(code) !== NOT_FOUND && !/(unrecognized|invalid) option/.test(answer))
      throw new Error(`sync -f ${this.#dir} failed: ${answer.slice(code!.length + 1)}`);
    this.#isSupported = false;
    this.close();
    return false;
  }
}

/** One question at a time. It keeps the process from ending only while it is asked. */
class Shell {
  readonly #process: ChildProcess;
  #heard = '';
  #answer: { resolve(line: string): void; reject(error: Error): void } | undefined;
  #ended: Error | undefined;

  constructor(dir: string) {
    this.#process = spawn('/bin/sh', ['-c', SCRIPT, 'sh', dir], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#process.on('error', (error: NodeJS.ErrnoException) => this.#onEnd(error));
    this.#process.on('exit', () => this.#onEnd(new Error('the shell that runs it has ended')));
    this.#process.stdin!.on('error', () => {});
    this.#process.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#heard += text;
      const end = this.#heard.indexOf('\n');
      if (end < 0) return;
      const line = this.#heard.slice(0, end);
      this.#heard = this.#heard.slice(end + 1);
      this.#answer?.resolve(line);
    });
    this.#hold(false);
  }

  get hasEnded(): boolean {
    return this.#ended !== undefined;
  }

  async ask(): Promise<string> {
    this.#hold(true);
    const impatience = setTimeout(() => this.#process.kill('SIGKILL'), TIMEOUT_MS);
    try {
      return await new Promise<string>((resolve, reject) => {
        if (this.#ended !== undefined) return reject(this.#ended);
        this.#answer = { resolve, reject };
        this.#process.stdin!.write('\n');
      });
    } finally {
      clearTimeout(impatience);
      this.#answer = undefined;
      this.#hold(false);
    }
  }

  end(): void {
    this.#process.stdin!.end();
  }

  #onEnd(error: NodeJS.ErrnoException): void {
    this.#ended ??= error;
    // Without a shell it is as without the command.
    if (error.code === 'ENOENT') this.#answer?.resolve(String(NOT_FOUND));
    else this.#answer?.reject(error);
  }

  #hold(isAsked: boolean): void {
    const { stdin, stdout } = this.#process as unknown as Record<'stdin' | 'stdout', { ref(): void; unref(): void }>;
    for (const held of [this.#process, stdin, stdout]) {
      if (isAsked) held.ref();
      else held.unref();
    }
  }
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split('.').map(Number);
  return first > major || (first === major && second >= minor);
}
