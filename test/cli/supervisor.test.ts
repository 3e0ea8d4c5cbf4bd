import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freePorts } from '../../src/cli/up/free-port.ts';
import { OrphanGuard } from '../../src/cli/up/orphan-guard.ts';
import { type ChildSpec, Supervisor } from '../../src/cli/up/supervisor.ts';
import { NATS_SERVERS } from '../nats/nats-servers.ts';

const server = NATS_SERVERS.find(({ isHere }) => isHere);

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe.runIf(server !== undefined)('a supervisor of real servers', () => {
  let dir: string;
  let ports: number[];
  let deaths: string[];
  let supervisor: Supervisor;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'keyfleet-supervisor-'));
    ports = await freePorts(2);
    deaths = [];
    supervisor = new Supervisor({ onDeath: (name, how) => deaths.push(`${name} ${how}`), readyMs: 20_000 });
  });
  afterEach(async () => {
    for (const { name } of supervisor.states()) await supervisor.stop(name, 1_000);
    supervisor.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const spec = (name: string, monitor: number, ...more: readonly string[]): ChildSpec => ({
    name,
    command: server!.binary,
    args: ['-a', '127.0.0.1', '-p', '-1', '-m', String(monitor), ...more],
    logFile: join(dir, `${name}.log`),
    isUp: async () => (await fetch(`http://127.0.0.1:${monitor}/healthz`)).ok,
  });
  const pidOf = (name: string): number => supervisor.states().find((one) => one.name === name)!.pid!;

  test('starts them, keeps what they write, and ends them when asked to', async () => {
    await Promise.all([supervisor.start(spec('a', ports[0]!)), supervisor.start(spec('b', ports[1]!))]);
    expect(supervisor.states().map(({ name, state }) => [name, state])).toEqual([
      ['a', 'running'],
      ['b', 'running'],
    ]);
    expect(readFileSync(join(dir, 'a.log'), 'utf8')).toContain('Server is ready');
    const pid = pidOf('a');
    expect(await supervisor.stop('a', 10_000)).toBe(false);
    expect(isRunning(pid)).toBe(false);
    expect(supervisor.states()[0]).toMatchObject({ state: 'ended', ended: expect.stringContaining('ended') });
    expect(deaths).toEqual([]);
  }, 60_000);

  test('tells of one that was killed, and starts it again when asked to; its log of before is kept', async () => {
    await supervisor.start(spec('a', ports[0]!));
    const pid = pidOf('a');
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => deaths, { timeout: 10_000 }).toEqual(['a was ended by SIGKILL']);
    await supervisor.start(spec('a', ports[0]!));
    expect(pidOf('a')).not.toBe(pid);
    expect(readFileSync(join(dir, 'a.log.1'), 'utf8')).toContain('Server is ready');
    const again = pidOf('a');
    await supervisor.start(spec('a', ports[0]!));
    expect(pidOf('a')).toBe(again);
  }, 60_000);

  test('one that does not come up says why: KF_CHILD_FAILED with the end of its log', async () => {
    await expect(supervisor.start(spec('a', ports[0]!, '-c', join(dir, 'missing.conf')))).rejects.toMatchObject({
      code: 'KF_CHILD_FAILED',
      message: expect.stringContaining('missing.conf'),
    });
    await expect(supervisor.start({ ...spec('b', ports[1]!), command: join(dir, 'no-program') })).rejects.toMatchObject({
      code: 'KF_CHILD_FAILED',
      message: expect.stringContaining('ENOENT'),
    });
    expect(deaths).toEqual([]);
  }, 60_000);

  test('one that is never up is ended', async () => {
    const impatient = new Supervisor({ onDeath: (name) => deaths.push(name), readyMs: 300 });
    await expect(impatient.start({ ...spec('a', ports[0]!), isUp: async () => false })).rejects.toMatchObject({ code: 'KF_CHILD_FAILED' });
    expect(impatient.states()).toMatchObject([{ state: 'ended' }]);
    impatient.close();
  }, 60_000);

  test('one that does not listen to SIGTERM is ended with -9', async () => {
    await supervisor.start(spec('a', ports[0]!));
    process.kill(pidOf('a'), 'SIGSTOP');
    expect(await supervisor.stop('a', 200)).toBe(true);
  }, 60_000);
});

describe('the guard of orphans', () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  const sleeper = (): ChildProcess => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore', detached: true });
    children.push(child);
    return child;
  };

  test('ends, when its pipe ends, whom it was told of and not told to forget', async () => {
    const guard = new OrphanGuard();
    const [one, other, kept] = [sleeper(), sleeper(), sleeper()];
    for (const child of [one, other, kept]) guard.add(child.pid!);
    guard.remove(kept.pid!);
    const ends = [one, other].map((child) => new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal))));
    guard.close();
    expect(await Promise.all(ends)).toEqual(['SIGTERM', 'SIGTERM']);
    expect(isRunning(kept.pid!)).toBe(true);
  }, 30_000);
});
