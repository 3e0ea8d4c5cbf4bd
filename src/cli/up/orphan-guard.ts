import { type ChildProcess, spawn } from 'node:child_process';

// No child outlives us, even when we are killed with -9 and can do nothing any more: a shell of a few lines holds the other end of a pipe and knows
// our children. When the pipe ends without a word it ends them, the newest first, politely and then not.

const GUARD = `
pids=
while read -r sign pid; do
  rest=
  for one in $pids; do [ "$one" = "$pid" ] || rest="$rest $one"; done
  pids=$rest
  [ "$sign" = + ] && pids="$pid $pids"
done
for pid in $pids; do
  kill -TERM "$pid" 2>/dev/null || continue
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ $tries -lt 80 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$pid" 2>/dev/null
done
exit 0
`;

/** Ends the processes it was told of when this process ends without telling it that they have. */
export class OrphanGuard {
  #shell: ChildProcess | undefined;
  readonly #pids = new Set<number>();
  #closed = false;

  constructor() {
    this.#start();
  }

  add(pid: number): void {
    this.#pids.add(pid);
    this.#shell?.stdin?.write(`+ ${pid}\n`);
  }

  remove(pid: number): void {
    this.#pids.delete(pid);
    this.#shell?.stdin?.write(`- ${pid}\n`);
  }

  /** It ends what it still knows, and then itself. */
  close(): void {
    this.#closed = true;
    this.#shell?.stdin?.end();
  }

  #start(): void {
    // In a process group of its own: Ctrl-C on the terminal is not for it.
    const shell = spawn('sh', ['-c', GUARD], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    shell.on('error', () => {});
    shell.stdin.on('error', () => {});
    shell.once('exit', () => {
      if (!this.#closed) this.#start();
    });
    shell.unref();
    this.#shell = shell;
    for (const pid of this.#pids) shell.stdin.write(`+ ${pid}\n`);
  }
}
