import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keyfleetHere } from '../cli-in-process.ts';
import { NATS_SERVERS } from '../nats/nats-servers.ts';

const here = NATS_SERVERS.find(({ isHere }) => isHere);

describe.runIf(here !== undefined)('keyfleet nats config', () => {
  let out: string;
  beforeEach(() => {
    out = join(mkdtempSync(join(tmpdir(), 'keyfleet-nats-cli-')), 'nats');
  });
  afterEach(() => rmSync(join(out, '..'), { recursive: true, force: true }));

  const config = (...args: readonly string[]) => keyfleetHere(['nats', 'config', '--out', out, '--nats-server', here!.binary, ...args]);
  const three = ['--server', 'a=10.0.0.1@r1', 'b=10.0.0.2@r2', 'c=10.0.0.3:5222@r3'];

  test('writes a file for each server, and a password that only its owner can read', async () => {
    const { code, out: said } = await config(...three);
    expect(code).toBe(0);
    expect(readdirSync(out).sort()).toEqual(['a.conf', 'b.conf', 'c.conf', 'password']);
    for (const file of readdirSync(out)) expect(statSync(join(out, file)).mode & 0o077).toBe(0);
    expect(said).toContain('checked by nats-server');
    expect(said).toContain('--nats nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:5222');
    const password = readFileSync(join(out, 'password'), 'utf8').trim();
    expect(readFileSync(join(out, 'c.conf'), 'utf8')).toContain(password);
    expect(said).not.toContain(password);
  });

  test('a server more: the password stays, and files that would change are not written over unasked', async () => {
    await config(...three);
    const password = readFileSync(join(out, 'password'), 'utf8');
    const before = readFileSync(join(out, 'a.conf'), 'utf8');
    const refused = await config(...three, 'd=10.0.0.4@r4');
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('--force') });
    expect(readFileSync(join(out, 'a.conf'), 'utf8')).toBe(before);
    expect(await config(...three, 'd=10.0.0.4@r4', '--force')).toMatchObject({
      code: 0,
      out: expect.stringContaining('take an odd number'),
    });
    expect(readFileSync(join(out, 'password'), 'utf8')).toBe(password);
    expect(readFileSync(join(out, 'a.conf'), 'utf8')).toContain('10.0.0.4');
    expect(await config(...three, 'd=10.0.0.4@r4')).toMatchObject({ code: 0 });
  });

  test('a password of one’s own, or none', async () => {
    const file = join(out, '..', 'mine');
    writeFileSync(file, 'correct-horse\nbattery\n');
    await config('--password-file', file);
    expect(readFileSync(join(out, 'nats-1.conf'), 'utf8')).toContain('password: "correct-horse"');
    await config('--no-auth', '--force');
    expect(readFileSync(join(out, 'nats-1.conf'), 'utf8')).not.toContain('password');
  });

  test('for servers of another version than the one here', async () => {
    const { out: said } = await config('--for-version', '2.9.25');
    expect(said).toContain('not checked');
    expect(said).toContain('can lose answered writes');
    expect(readFileSync(join(out, 'nats-1.conf'), 'utf8')).not.toMatch(/^ {2}sync_interval/m);
  });

  test.each([
    [['--server', 'nothing']],
    [['--server', 'a=h:port']],
    [['--server', 'a=h', 'a=g']],
    [['--max-payload', 'much']],
    [['--max-payload', '1G']],
    [['--for-version', 'new']],
    [['--nats-server', '/nonexistent/nats-server']],
    [['--password-file', '/nonexistent/password']],
  ])('is refused with %j, and writes nothing', async (args) => {
    const { code, err } = await config(...args);
    expect([code, err]).toEqual([2, expect.stringContaining('KF_USAGE')]);
    expect(() => readdirSync(out)).toThrow();
  });
});
