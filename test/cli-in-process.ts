import { Readable } from 'node:stream';
import { runCommandLine } from '../src/cli/command-line.ts';

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/**
 * Runs a command line as `keyfleet` would, in this very process: its standard input is `input`, and what it writes is what is answered. One at a
 * time. What it leaves on the process (listeners, the exit code) is taken away.
 */
export async function keyfleetHere(args: readonly string[], input: string | Uint8Array = ''): Promise<Ended> {
  const written = { stdout: '', stderr: '' };
  const stdin = Object.getOwnPropertyDescriptor(process, 'stdin')!;
  const { exitCode } = process;
  const restore = (['stdout', 'stderr'] as const).map((name) => {
    const stream = process[name];
    const write = stream.write;
    const listeners = stream.listeners('error');
    stream.write = ((text: string | Uint8Array, ...rest: readonly unknown[]) => {
      written[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      const done = rest.at(-1);
      if (typeof done === 'function') done();
      return true;
    }) as typeof write;
    return () => {
      stream.write = write;
      for (const listener of stream.listeners('error'))
        if (!listeners.includes(listener)) stream.removeListener('error', listener as () => void);
    };
  });
  process.exitCode = undefined;
  Object.defineProperty(process, 'stdin', { configurable: true, value: Readable.from(input.length === 0 ? [] : [Buffer.from(input)]) });
  try {
    return { code: await runCommandLine(args), out: written.stdout, err: written.stderr };
  } finally {
    process.exitCode = exitCode;
    Object.defineProperty(process, 'stdin', stdin);
    for (const one of restore) one();
  }
}
