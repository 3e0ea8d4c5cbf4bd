import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync } from 'node:fs';
import { KeyfleetError } from '../../base/errors.ts';
import { showDuration } from '../../base/units.ts';
import { OrphanGuard } from './orphan-guard.ts';

/** A program to run and watch. */
export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Gets all that it writes; the one of the run before is kept as `FILE.1`. */
  readonly logFile: string;
  /** Whether it does its work by now. What it throws means no. */
  readonly isUp: () => Promise<boolean>;
}

export interface ChildState {
  readonly name: string;
  readonly pid: number | undefined;
  readonly state: 'running' | 'starting' | 'ended';
  /** How it ended, for people; undefined while it runs. */
  readonly ended: string | undefined;
  readonly logFile: string;
}

interface Child {
  readonly spec: ChildSpec;
  process: ChildProcess | undefined;
  isReady: boolean;
  ended: string | undefined;
  /** Somebody asked for its end. */
  isWanted: boolean;
  exited: Promise<void>;
}

const READY_MS = 90_000;
const LOOK_AGAIN_MS = 50;
/** So much of its log stands in the message when a child does not come up. */
const SHOWN_LINES = 12;

/**
 * Runs programs beside this process: starts them, tells when one ends that was not asked to, and leaves none behind. It starts none again by itself.
 * Each is in a process group of its own, so that Ctrl-C on the terminal reaches this process alone.
 */
export class Supervisor {
  readonly #children = new Map<string, Child>();
  readonly #guard = new OrphanGuard();
  readonly #onDeath: (name: string, how: string) => void;
  readonly #readyMs: number;

  constructor(options: { readonly onDeath: (name: string, how: string) => void; readonly readyMs?: number }) {
    this.#onDeath = options.onDeath;
    this.#readyMs = options.readyMs ?? READY_MS;
  }

  states(): ChildState[] {
    return [...this.#children.values()].map(({ spec, process, isReady, ended }) => ({
      name: spec.name,
      pid: process?.pid,
      state: process === undefined ? 'ended' : isReady ? 'running' : 'starting',
      ended,
      logFile: spec.logFile,
    }));
  }

  /**
   * Starts it and waits until it is up. One that runs already stays as it is.
   * @throws KF_CHILD_FAILED with the end of its log, when it ends before it is up, or is not up in time; it is ended then.
   */
  async start(spec: ChildSpec): Promise<void> {
    const before = this.#children.get(spec.name);
    if (before?.process) return;
    const child: Child = { spec, process: undefined, isReady: false, ended: undefined, isWanted: true, exited: Promise.resolve() };
    this.#children.set(spec.name, child);
    this.#launch(child);
    const endMs = Date.now() + this.#readyMs;
    while (!(await spec.isUp().catch(() => false))) {
      if (child.process === undefined) throw failed(spec, child.ended ?? 'ended');
      if (Date.now() > endMs) {
        await this.stop(spec.name, 1_000);
        throw failed(spec, `was not up after ${showDuration(this.#readyMs)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
    // What is up is perhaps another program on the same port, and ours has ended for that very reason.
    if (child.process === undefined) throw failed(spec, child.ended ?? 'ended');
    child.isReady = true;
  }

  /** Asks it to end (SIGTERM), and ends it with -9 when it has not after `graceMs`. Answers whether that was needed. */
  async stop(name: string, graceMs: number): Promise<boolean> {
    const child = this.#children.get(name);
    if (!child?.process) return false;
    child.isWanted = false;
    let forced = false;
    const { process } = child;
    process.kill('SIGTERM');
    const timer = setTimeout(() => {
      forced = true;
      process.kill('SIGKILL');
    }, graceMs);
    await child.exited;
    clearTimeout(timer);
    return forced;
  }

  /** Ends all at once. */
  killAll(): void {
    for (const child of this.#children.values()) {
      child.isWanted = false;
      child.process?.kill('SIGKILL');
    }
  }

  forget(name: string): void {
    if (this.#children.get(name)?.process === undefined) this.#children.delete(name);
  }

  /** After the last `stop`. */
  close(): void {
    this.#guard.close();
  }

  #launch(child: Child): void {
    const { spec } = child;
    if (existsSync(spec.logFile)) renameSync(spec.logFile, `${spec.logFile}.1`);
    const log = openSync(spec.logFile, 'a', 0o600);
    const process = spawn(spec.command, spec.args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    if (process.pid !== undefined) this.#guard.add(process.pid);
    child.process = process;
    child.exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        if (child.process === undefined) return;
        const wasReady = child.isReady;
        if (process.pid !== undefined) this.#guard.remove(process.pid);
        child.process = undefined;
        child.isReady = false;
        child.ended = how;
        resolve();
        if (child.isWanted && wasReady) this.#onDeath(spec.name, how);
      };
      process.once('error', (error) => ended(`could not be started: ${error.message}`));
      process.once('exit', (code, signal) => ended(signal ? `was ended by ${signal}` : `ended with exit code ${code}`));
    });
  }
}

function failed(spec: ChildSpec, how: string): KeyfleetError {
  const lines = readFileSync(spec.logFile, 'utf8').trimEnd().split('\n').slice(-SHOWN_LINES);
  return new KeyfleetError('KF_CHILD_FAILED', `${spec.name} ${how}; its log ${spec.logFile} ends with\n  ${lines.join('\n  ')}`);
}
