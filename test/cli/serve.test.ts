import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyfleetHere } from '../cli-in-process.ts';
import { type Ended, KeyfleetProcess, KeyfleetServer, keyfleet } from './keyfleet-process.ts';

let scratch: string;
const started: KeyfleetServer[] = [];

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'keyfleet-serve-'));
});
afterAll(async () => {
  for (const server of started) if (server.child.exitCode === null) await server.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});

async function serve(dir: string, args: readonly string[] = []): Promise<KeyfleetServer> {
  const server = await KeyfleetServer.start(join(scratch, dir), args);
  started.push(server);
  return server;
}

async function redisOf<T>(server: KeyfleetServer, use: (redis: Redis) => Promise<T>, options: { password?: string } = {}): Promise<T> {
  const redis = new Redis({ port: server.respPort, host: '127.0.0.1', ...options });
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

async function expectAll(redis: Redis, keys: readonly string[]): Promise<void> {
  for (let from = 0; from < keys.length; from += 5_000) {
    const some = keys.slice(from, from + 5_000);
    const values = await redis.mget(some);
    expect(some.filter((key, i) => values[i] !== `value of ${key}`)).toEqual([]);
  }
}

/** That a command failed as it should: its exit code, and one line that says code and reason. */
function expectFailure({ code, stdout, stderr }: Ended, exitCode: number, kfCode: string, says: string | RegExp): void {
  expect({ code, stdout, lines: stderr.trimEnd().split('\n').length }).toEqual({ code: exitCode, stdout: '', lines: 1 });
  expect(stderr).toContain(`keyfleet: ${kfCode}: `);
  expect(stderr).toMatch(says);
}

describe('a server', () => {
  test('says where it listens and what to try, ends on SIGTERM with 0, and has everything again when it is back', async () => {
    const first = await serve('durable');
    expect(first.stdout).toContain(`redis-cli -h 127.0.0.1 -p ${first.respPort} set greeting hello`);
    expect(first.stdout).toContain('durability      sync');
    await redisOf(first, (redis) => redis.set('greeting', 'hello'));
    const ended = await first.kill('SIGTERM');
    expect([ended.code, ended.signal]).toEqual([0, null]);
    const second = await serve('durable');
    expect(await (await fetch(`${second.url}/v1/keyspaces/default/keys/greeting`)).text()).toBe('hello');
    expect((await second.kill('SIGINT')).code).toBe(0);
  });

  // A longer run: KEYFLEET_KILL_ROUNDS=100 npx vitest run test/cli/serve.test.ts
  const rounds = Number(process.env['KEYFLEET_KILL_ROUNDS'] ?? 2);
  test(
    `killed in the middle of writes, ${rounds} times over, has every acknowledged one when it is back`,
    async () => {
      const acknowledged: string[] = [];
      for (let round = 0; round < rounds; round++) {
        const server = await serve('killed');
        await redisOf(server, (redis) => expectAll(redis, acknowledged));
        const redis = new Redis({ port: server.respPort, host: '127.0.0.1', retryStrategy: () => null });
        redis.on('error', () => {});
        const enough = acknowledged.length + 500 + Math.floor(1_000 * ((round * 0.618) % 1));
        const writers = Array.from({ length: 20 }, async (_, writer) => {
          for (let i = 0; i < 100_000; i++) {
            const key = `${round}:${writer}:${i}`;
            try {
              await redis.set(key, `value of ${key}`);
            } catch {
              return;
            }
            acknowledged.push(key);
          }
        });
        while (acknowledged.length < enough) await new Promise((resolve) => setTimeout(resolve, 1));
        await server.kill('SIGKILL');
        await Promise.all(writers);
        redis.disconnect();
      }
      const last = await serve('killed');
      await redisOf(last, (redis) => expectAll(redis, acknowledged));
      expect((await last.kill('SIGTERM')).code).toBe(0);
    },
    30_000 + rounds * 5_000,
  );

  test('lets requests under way end, and a second Ctrl-C ends it at once with 130', async () => {
    const server = await serve('impatient');
    const socket = connect(server.httpPort, '127.0.0.1');
    socket.on('error', () => {});
    // A body of which the rest never comes keeps one request under way.
    socket.write('PUT /v1/keyspaces/default/keys/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf');
    await expect.poll(async () => (await (await fetch(`${server.url}/metrics`)).text()).includes('keyfleet_http_body_bytes 4')).toBe(true);
    server.child.kill('SIGINT');
    await expect.poll(() => server.stderr).toContain('ending: no new connections');
    expect(server.child.exitCode).toBeNull();
    const ended = await server.kill('SIGINT');
    expect([ended.code, ended.signal]).toEqual([130, null]);
    socket.destroy();
  });

  test('takes its settings from a file, and flags win over it', async () => {
    const password = join(scratch, 'password');
    writeFileSync(password, 'open sesame\nnot this line\n');
    const config = join(scratch, 'k.yml');
    writeFileSync(
      config,
      'dir: configured\npasswordFile: password\nhttp: { port: off }\ndurability: none\nshards: 3\nlog: { format: json }\n',
    );
    const server = await serve('flagged', ['--config', config, '--durability', 'os', '--http', '0']);
    expect(server.stdout).toContain('durability      os');
    expect(JSON.parse(server.stderr.split('\n')[0]!)).toMatchObject({ level: 'info', msg: 'serving', durability: 'os' });
    expect((await fetch(`${server.url}/v1/status`)).status).toBe(401);
    const headers = { authorization: 'Bearer open sesame' };
    const status = (await (await fetch(`${server.url}/v1/status`, { headers })).json()) as { keyspaces: { shards: unknown[] }[] };
    expect(status.keyspaces[0]!.shards).toHaveLength(3);
    await redisOf(server, (redis) => expect(redis.ping()).resolves.toBe('PONG'), { password: 'open sesame' });
    expect((await keyfleet(['status', '--url', server.url])).code).toBe(5);
    const shown = await keyfleet(['status', '--url', server.url, '--password-file', password]);
    expect([shown.code, shown.stdout.includes('keyspace default: 0 keys')]).toEqual([0, true]);
    // A password changed over one door holds for the other.
    await redisOf(server, (redis) => redis.config('SET', 'requirepass', 'changed'), { password: 'open sesame' });
    expect((await fetch(`${server.url}/v1/status`, { headers })).status).toBe(401);
    expect((await fetch(`${server.url}/v1/status`, { headers: { authorization: 'Bearer changed' } })).status).toBe(200);
    expect((await server.kill('SIGTERM')).code).toBe(0);
  });
});

describe('a server that cannot begin says why in one line', () => {
  test('a port that is taken: KF_LISTEN_FAILED, exit 3', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) => {
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port));
    });
    const dir = join(scratch, 'taken');
    for (const door of ['--resp', '--http']) {
      const ended = await keyfleet(['serve', '--dir', dir, '--resp', '0', '--http', '0', door, String(port), '--log-level', 'error']);
      expectFailure(ended, 3, 'KF_LISTEN_FAILED', new RegExp(`127\\.0\\.0\\.1:${port}.*choose other ports`));
    }
    other.close();
    // Nothing was left locked.
    expect((await (await serve('taken')).kill('SIGTERM')).code).toBe(0);
  });

  test('a directory that another server has: KF_STORAGE_LOCKED, exit 4', async () => {
    const server = await serve('locked');
    const ended = await keyfleet(['serve', '--dir', join(scratch, 'locked'), '--resp', '0', '--http', '0']);
    expectFailure(ended, 4, 'KF_STORAGE_LOCKED', `is in use by process ${server.child.pid}`);
    expect((await server.kill('SIGTERM')).code).toBe(0);
  });

  test('a directory of a later release: KF_STORAGE_VERSION, exit 4', async () => {
    await (await serve('later')).kill('SIGTERM');
    writeFileSync(join(scratch, 'later', 'keyfleet-format'), '999\n');
    const ended = await keyfleet(['serve', '--dir', join(scratch, 'later'), '--resp', '0', '--http', '0']);
    expectFailure(ended, 4, 'KF_STORAGE_VERSION', /format 999/);
  });

  test('a directory that is a file: exit 4', async () => {
    writeFileSync(join(scratch, 'a-file'), '');
    const ended = await keyfleet(['serve', '--dir', join(scratch, 'a-file'), '--resp', '0', '--http', '0']);
    expectFailure(ended, 4, 'KF_STORAGE_UNREADABLE', /a-file/);
  });

  test('an address that others can reach, without a password: KF_UNPROTECTED, exit 2', async () => {
    const args = ['serve', '--dir', join(scratch, 'open'), '--resp', '0', '--http', '0', '--host', '0.0.0.0'];
    expectFailure(await keyfleet(args), 2, 'KF_UNPROTECTED', '--password-file FILE, or --no-protected');
    const server = await serve('open', ['--host', '0.0.0.0', '--no-protected']);
    const { code, stderr } = await server.kill('SIGTERM');
    expect(stderr).toContain('everyone who can reach this address may read and write');
    expect(code).toBe(0);
  });

  test('a wrong configuration: KF_CONFIG with line and column, exit 2', async () => {
    const config = join(scratch, 'wrong.yml');
    writeFileSync(config, 'dir: x\nresp:\n  prot: 1\n');
    expectFailure(
      await keyfleet(['serve', '--config', config]),
      2,
      'KF_CONFIG',
      `${config}:3:3: unknown setting "resp.prot" (did you mean resp.port?)`,
    );
    expectFailure(await keyfleet(['serve', '--config', join(scratch, 'none.yml')]), 2, 'KF_CONFIG', /cannot read the configuration file/);
  });

  test.each([
    [['serve', '--resp', 'many'], '--resp: must be a port'],
    [['serve', '--durability', 'full'], '--durability: must be one of sync, os, none'],
    [['serve', '--password-file', 'no/such/file'], 'cannot read the password file no/such/file'],
    [['serve', '--resp', 'off', '--http', 'off'], 'nothing to serve'],
  ])('%j: KF_USAGE, exit 2', async (args, says) => {
    expectFailure(await keyfleet(args), 2, 'KF_USAGE', says);
  });
});

describe('the command line', () => {
  test('shows every command, and each shows its help with an example', async () => {
    const { code, stdout } = await keyfleet(['--help']);
    expect(code).toBe(0);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) (?!.*display help)/gm)]
      .map((match) => match[1]!)
      .filter((name) => name !== 'keyfleet');
    expect(commands).toEqual(expect.arrayContaining(['serve', 'status', 'import', 'export']));
    for (const command of commands) {
      const help = await keyfleetHere([command, '--help']);
      expect([command, help.code, /Examples?:\n {2}/.test(help.out)]).toEqual([command, 0, true]);
    }
  });

  test('a reader that goes away, as head does, ends a command without a word', async () => {
    const help = new KeyfleetProcess(['--help']);
    help.child.stdout!.destroy();
    const { code, stderr } = await help.ended;
    expect([code, stderr]).toEqual([0, '']);
  });

  test('--version is that of the package', async () => {
    const { code, stdout } = await keyfleet(['--version']);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  });

  test('what it does not know ends with 2 and what was probably meant', async () => {
    const flag = await keyfleet(['serve', '--htpp', '0']);
    expect([flag.code, flag.stderr]).toEqual([2, expect.stringContaining('(Did you mean --http?)')]);
    const command = await keyfleet(['exprot']);
    expect([command.code, command.stderr]).toEqual([2, expect.stringContaining('(Did you mean export?)')]);
    expect((await keyfleet(['import'])).code).toBe(2);
    expect((await keyfleet([])).code).toBe(2);
  });

  test('without a server: KF_UNREACHABLE, exit 5', async () => {
    for (const args of [['status'], ['export'], ['import', '-', '--retry-for', '0']]) {
      expectFailure(
        await keyfleet([...args, '--url', 'http://127.0.0.1:9'], { stdin: '' }),
        5,
        'KF_UNREACHABLE',
        /is `keyfleet serve` running/,
      );
    }
  });
});
