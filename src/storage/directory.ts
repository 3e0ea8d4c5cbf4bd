import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { makeDirs, writeFileLasting } from './files.ts';

// The directory of a storage: whose it is, which format it has, and that only one process has it.
//
//   keyfleet-format    the number of the format
//   keyfleet-lock      who has it: process id and when that process started
//   journal/  lmdb/    the data
//
// The lock must hold against a second process and must be gone when its owner is, kill -9 included, which a plain file cannot do and
// flock could, if Node had it. On Linux the lock is a listening socket with an abstract name made of the directory's device and inode: the
// system lets only one process listen on it and takes it away with the process. Abstract names do not reach into another network namespace
// (a container), so the lock file is looked at as well: it counts while a process with that id and that start time is there. On Windows a
// named pipe does what the abstract socket does; elsewhere the file alone must do, which is safe but for two starts in the same instant.

const FORMAT = 1;
const FORMAT_FILE = 'keyfleet-format';
const LOCK_FILE = 'keyfleet-lock';

export interface LockedDirectory {
  readonly dir: string;
  unlock(): void;
}

/** Makes `dir` if needed, checks its format and locks it. @throws KF_STORAGE_LOCKED, KF_STORAGE_VERSION, KF_STORAGE_UNREADABLE, KF_DISK_FULL */
export async function lockDirectory(dir: string): Promise<LockedDirectory> {
  let identity: string;
  try {
    makeDirs(dir);
    fs.accessSync(dir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    const { dev, ino } = fs.statSync(dir, { bigint: true });
    identity = createHash('sha256').update(`${dev} ${ino}`).digest('hex').slice(0, 32);
  } catch (error) {
    throw unreadable(dir, error);
  }
  const server = await listenAsLock(identity, dir);
  try {
    const owner = livingOwner(join(dir, LOCK_FILE));
    // With the socket ours, our own id in the file is a leftover: the system gave it to us a second time.
    if (owner !== undefined && (owner !== process.pid || !server)) throw locked(dir, owner);
    checkFormat(dir);
    writeFileLasting(join(dir, LOCK_FILE), `${JSON.stringify({ pid: process.pid, started: startOf(process.pid) })}\n`);
  } catch (error) {
    server?.close();
    throw error instanceof KeyfleetError ? error : unreadable(dir, error);
  }
  return {
    dir,
    unlock: () => {
      fs.rmSync(join(dir, LOCK_FILE), { force: true });
      server?.close();
    },
  };
}

/** Undefined where the platform has no such lock. */
async function listenAsLock(identity: string, dir: string): Promise<net.Server | undefined> {
  const address =
    process.platform === 'linux'
      ? `\0keyfleet-${identity}`
      : process.platform === 'win32'
        ? `\\\\.\\pipe\\keyfleet-${identity}`
        : undefined;
  if (address === undefined) return undefined;
  const server = net.createServer((socket) => socket.destroy());
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') reject(locked(dir, pidIn(join(dir, LOCK_FILE))));
      else reject(unreadable(dir, error));
    });
    server.listen(address, resolve);
  });
  return server;
}

interface Owner {
  readonly pid: number;
  readonly started: string | undefined;
}

function readOwner(path: string): Owner | undefined {
  try {
    const owner = JSON.parse(fs.readFileSync(path, 'utf8')) as { pid?: unknown; started?: unknown };
    if (typeof owner.pid !== 'number') return undefined;
    return { pid: owner.pid, started: typeof owner.started === 'string' ? owner.started : undefined };
  } catch {
    return undefined;
  }
}

const pidIn = (path: string): number | undefined => readOwner(path)?.pid;

/** The process id in the lock file, if that very process is alive. */
function livingOwner(path: string): number | undefined {
  const owner = readOwner(path);
  if (!owner) return undefined;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  return owner.started === startOf(owner.pid) ? owner.pid : undefined;
}

/** What tells a process from a later one with the same id: its start in ticks since boot, and which boot; undefined where unknown. */
function startOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may hold anything; behind it come the state (Z: dead, not yet buried) and, as the 20th field, the start.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const ticks = fields[19];
    return `${fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${ticks}`;
  } catch {
    return undefined;
  }
}

function checkFormat(dir: string): void {
  const path = join(dir, FORMAT_FILE);
  let text: string | undefined;
  try {
    text = fs.readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (text === undefined) {
    if (fs.existsSync(join(dir, 'lmdb')) || fs.existsSync(join(dir, 'journal')))
      throw new KeyfleetError(
        'KF_STORAGE_DAMAGED',
        `${dir} holds data, but its file ${FORMAT_FILE} is missing; put it back (this version writes ${FORMAT})`,
      );
    writeFileLasting(path, `${FORMAT}\n`);
    return;
  }
  const format = Number(text.trim());
  if (!Number.isInteger(format) || format < 1)
    throw new KeyfleetError('KF_STORAGE_DAMAGED', `${path} should hold a number, not ${JSON.stringify(text.slice(0, 40))}`);
  if (format > FORMAT)
    throw new KeyfleetError(
      'KF_STORAGE_VERSION',
      `${dir} has format ${format}, this version of Keyfleet knows ${FORMAT}; use the version that wrote it, or a newer one`,
    );
}

function locked(dir: string, pid: number | undefined): KeyfleetError {
  const who = pid === undefined ? 'another process' : pid === process.pid ? `this process (${pid})` : `process ${pid}`;
  return new KeyfleetError('KF_STORAGE_LOCKED', `${dir} is in use by ${who}; stop it first, or choose another directory`, {
    retryable: true,
  });
}

export function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

export function unreadable(dir: string, cause: unknown): KeyfleetError {
  if (isDiskFull(cause)) return new KeyfleetError('KF_DISK_FULL', `no room in ${dir}: ${messageOf(cause)}`, { cause, retryable: true });
  return new KeyfleetError('KF_STORAGE_UNREADABLE', `cannot use ${dir} for data: ${messageOf(cause)}`, { cause });
}
