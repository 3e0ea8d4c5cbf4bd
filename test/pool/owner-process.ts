import { setTimeout as sleep } from 'node:timers/promises';
import { KeyfleetProcess } from '../cli/keyfleet-process.ts';

const UP_MS = 60_000;

/** A process of `keyfleet`, once it has said that it is up. */
async function up(args: readonly string[], saysSo: string): Promise<KeyfleetProcess> {
  const process = new KeyfleetProcess(args);
  for (const endMs = Date.now() + UP_MS; !process.stdout.includes(saysSo); await sleep(10))
    if (process.child.exitCode !== null || Date.now() > endMs)
      throw new Error(`keyfleet ${args.slice(0, 2).join(' ')} did not come up:\n${process.stdout}${process.stderr}`);
  return process;
}

/** `keyfleet pool owner` with leases of a second, so that tests need not wait for three. */
export function startOwner(options: { readonly file: string; readonly dir: string; readonly port: number }): Promise<KeyfleetProcess> {
  const { file, dir, port } = options;
  return up(['pool', 'owner', '-c', file, '--dir', dir, '--port', String(port), '--lease', '1000'], 'http://');
}

/** `keyfleet pool` without statistics, which follows the owner at `ownerPort`. */
export function startFollowingProxy(options: { readonly file: string; readonly ownerPort: number }): Promise<KeyfleetProcess> {
  return up(['pool', '-c', options.file, '-s', '0', '--owner', `http://127.0.0.1:${options.ownerPort}`], 'serving');
}
