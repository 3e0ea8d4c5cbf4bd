import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { isOlder, OLDEST_SAFE_SERVER } from './server-check.ts';

const run = promisify(execFile);
const NAME = 'nats-server';
/** Debian keeps daemons where the path of a user does not lead. */
const MORE_DIRS = ['/usr/sbin', '/usr/local/bin', '/usr/local/sbin', '/opt/homebrew/bin'];
/** Where `npm test` of a clone puts a recent one. */
const OF_THIS_CLONE = fileURLToPath(new URL('../../.cache/nats-server/nats-server', import.meta.url));
const TIMEOUT_MS = 10_000;

/** A nats-server on this machine. */
export interface NatsBinary {
  readonly path: string;
  /** `2.15.1`. */
  readonly version: string;
}

export interface FindOptions {
  /** Only this one. */
  readonly path?: string | undefined;
  /** Default: of this process. `KEYFLEET_NATS_SERVER` names one, `PATH` lists where to look. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Finds a nats-server: the one that is named; else, of those on the path and in the usual places, the first that is safe to keep logs in, or the first at all.
 * @throws KF_NATS_MISSING with how to get one; KF_USAGE when the named one is not there or is something else.
 */
export async function findNatsServer(options: FindOptions = {}): Promise<NatsBinary> {
  const { env = process.env } = options;
  const named = options.path ?? env['KEYFLEET_NATS_SERVER'];
  if (named !== undefined && named !== '')
    return askNamed(resolve(named), options.path === undefined ? 'KEYFLEET_NATS_SERVER' : '--nats-server');
  const dirs = [...(env['PATH'] ?? '').split(delimiter).filter((dir) => dir !== ''), ...MORE_DIRS];
  const found: NatsBinary[] = [];
  for (const path of new Set([...dirs.map((dir) => join(dir, NAME)), OF_THIS_CLONE])) {
    if (!isExecutable(path)) continue;
    const version = await versionOf(path).catch(() => undefined);
    if (version !== undefined) found.push({ path, version });
  }
  const best = found.find(({ version }) => !isOlder(version, OLDEST_SAFE_SERVER)) ?? found[0];
  if (best === undefined) {
    const how = 'get it from https://nats.io/download, `apt-get install nats-server` or `brew install nats-server`';
    throw new KeyfleetError(
      'KF_NATS_MISSING',
      `no nats-server on this machine: ${how}, or name it with --nats-server or KEYFLEET_NATS_SERVER`,
    );
  }
  return best;
}

/** Has the server itself check a configuration file. @throws KF_CONFIG with what it says. */
export async function checkNatsConfig(binary: NatsBinary, file: string): Promise<void> {
  try {
    await run(binary.path, ['-t', '-c', file], { timeout: TIMEOUT_MS });
  } catch (error) {
    const said = (error as { readonly stderr?: string }).stderr?.trim();
    throw new KeyfleetError('KF_CONFIG', `nats-server ${binary.version} does not take ${file}: ${said || messageOf(error)}`, {
      cause: error,
    });
  }
}

async function askNamed(path: string, by: string): Promise<NatsBinary> {
  if (!isExecutable(path)) throw new KeyfleetError('KF_USAGE', `${by}: ${path} is no program`);
  try {
    return { path, version: await versionOf(path) };
  } catch (error) {
    throw new KeyfleetError('KF_USAGE', `${by}: ${path} is no nats-server: ${messageOf(error)}`, { cause: error });
  }
}

async function versionOf(path: string): Promise<string> {
  const { stdout, stderr } = await run(path, ['--version'], { timeout: TIMEOUT_MS });
  const version = /nats-server: v?(\d+\.\d+\.\d+)/.exec(stdout + stderr)?.[1];
  if (version === undefined) throw new Error(`it says ${JSON.stringify(stdout.slice(0, 80))}`);
  return version;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
