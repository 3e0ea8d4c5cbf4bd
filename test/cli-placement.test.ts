import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { AnchorHash } from '../src/partition/anchor-hash.ts';
import { HashRing } from '../src/partition/hash-ring.ts';
import { Keyspace } from '../src/partition/keyspace.ts';
import { Plan } from '../src/partition/placement/plan.ts';
import { RedisSlots } from '../src/partition/redis-slots.ts';
import { rendezvousPlacement } from '../src/partition/rendezvous-placement.ts';
import { type Ended, keyfleetHere as keyfleet } from './cli-in-process.ts';
import { root } from './house/tree.ts';
import routing from './vectors/twemproxy_routing.json' with { type: 'json' };

const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-cli-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Runs the built command, as users do; most tests run it in this process, which is quicker. */
function keyfleetSpawned(args: readonly string[], input = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [join(root, 'dist', 'cli', 'main.js'), ...args],
      { timeout: 25_000, maxBuffer: 1 << 28 },
      (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err }),
    );
    child.stdin!.on('error', () => {});
    child.stdin!.end(input);
  });
}

function fileWith(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
}

const abc = ['a', 'b', 'c'].map((id) => ({ id }));

describe('keyfleet locate', () => {
  test('names the owner and the replicas, as the library does', async () => {
    const ring = new HashRing(abc);
    const keys = ['user:1', 'schlüssel', '', 'user:2'];
    const expected = keys.map((key) => `${[key, ...ring.replicas(key, 2).map(({ id }) => id)].join('\t')}\n`);
    const args = ['locate', '-a', 'ring', '--node', 'a', 'b', 'c', '-r', '2', '--', ...keys];
    for (const run of [keyfleet, keyfleetSpawned])
      expect(await run(args)).toEqual({
        code: 0,
        out: expected.join(''),
        err: '',
      });
  });

  test('reads keys from standard input or a file, in text or hex, the last line with or without an end', async () => {
    const nodes = ['locate', '-n', 'a', '-n', 'b', '-n', 'c'];
    const texts = ['k1', 'k 2', 'ключ'];
    const direct = await keyfleet([...nodes, '--', ...texts]);
    expect(await keyfleet(nodes, `${texts.join('\n')}\n`)).toEqual(direct);
    expect(await keyfleet([...nodes, '--keys', fileWith('keys.txt', texts.join('\r\n'))])).toEqual(direct);
    const hex = texts.map((text) => Buffer.from(text).toString('hex'));
    const owners = (out: string): string[] =>
      out
        .trimEnd()
        .split('\n')
        .map((line) => line.split('\t')[1]!);
    expect(owners((await keyfleet([...nodes, '--hex'], hex.join('\n'))).out)).toEqual(owners(direct.out));
    const json = await keyfleet([...nodes, '--json', '--', ...texts]);
    expect(
      json.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(owners(direct.out).map((owner, i) => ({ key: texts[i], nodes: [owner] })));
  });

  test('streams: as many lines as keys, and each as the library has it', async () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `key-${i}`);
    const ring = new HashRing(abc);
    const { out } = await keyfleetSpawned(['locate', '-a', 'ring', '-n', 'a', 'b', 'c'], `${keys.join('\n')}\n`);
    expect(out === keys.map((key) => `${key}\t${ring.owner(key).id}\n`).join('')).toBe(true);
  });

  test('sums up by node', async () => {
    const { out } = await keyfleet(['locate', '-n', 'a', 'b:3', '--summary', '--json', '-k', '-'], 'x\ny\nz\n');
    const summary = JSON.parse(out) as { keys: number; nodes: { owned: number }[] };
    expect([summary.keys, summary.nodes.reduce((sum, { owned }) => sum + owned, 0)]).toEqual([3, 3]);
    expect((await keyfleet(['locate', '-n', 'a', 'b:3', '--summary'], 'x\ny\nz\n')).out).toMatch(/^3 keys\nnode\s+weight/);
  });

  test('explains where keys are, in words and as JSON', async () => {
    const nodes = ['-n', 'a', 'b', 'c', '-r', '2'];
    const { out } = await keyfleet(['locate', ...nodes, '--explain', '--', 'user:1', 'user:2']);
    expect(out).toMatch(/^user:1\t[abc]\t[abc]\n {2}murmur3_x86_128 puts the key at position \d+ .*\n {2}that is slot .*\nuser:2\t/s);
    const explained = async (...args: string[]): Promise<unknown> =>
      JSON.parse((await keyfleet(['locate', ...nodes, '--explain', '--json', ...args, '--', 'golf'])).out);
    expect(await explained('-a', 'range', '--split', 'g', 'p')).toEqual({
      key: 'golf',
      nodes: ['b', 'c'],
      why: ['keys from "g" up to, but not, "p" belong to b'],
    });
    for (const algorithm of ['ring', 'rendezvous', 'jump', 'bounded-load', 'keyspace-crate'])
      expect(await explained('-a', algorithm)).toMatchObject({ why: expect.arrayContaining([expect.any(String)]) });
  });

  test('knows anchor-hash, redis-ranges and rendezvous-placement as the library does', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `key-${i}`);
    const four = ['a', 'b', 'c', 'd'].map((id) => ({ id }));
    const anchor = new AnchorHash(4, { capacity: 8 });
    const table = new Keyspace(four, { placement: rendezvousPlacement, replicaCount: 1 });
    const slots = new RedisSlots(four);
    for (const [algorithm, owner] of [
      ['anchor-hash', (key: string) => four[anchor.owner(key)]!.id],
      ['redis-ranges', (key: string) => slots.owner(key).id],
      ['rendezvous-placement', (key: string) => table.owner(key).id],
    ] as const) {
      const { out } = await keyfleet(['locate', '-a', algorithm, '-n', 'a', 'b', 'c', 'd'], keys.join('\n'));
      expect(out).toBe(keys.map((key) => `${key}\t${owner(key)}\n`).join(''));
      // A node that goes gives its keys away, and no other moves.
      const left = await keyfleet(['simulate', '-a', algorithm, '-n', 'a', 'b', 'c', 'd', '--remove', 'b', '--count', '5000', '--json']);
      const { reports } = JSON.parse(left.out) as { reports: { ownersMoved: number; before: { nodes: { owned: number }[] } }[] };
      expect(reports[0]!.ownersMoved).toBe(reports[0]!.before.nodes[1]!.owned);
      expect((await keyfleet(['plan', '-a', algorithm, '-n', 'a', 'b', 'c', 'd', '--add', 'e'])).out).toMatch(/\ne +\d/);
    }
    expect((await keyfleet(['plan', '-a', 'anchor-hash', '--slots', '4', '-n', 'a', 'b', 'c', 'd', '--add', 'e'])).err).toContain(
      'KF_ANCHOR_FULL',
    );
  });

  test('bounds loads: of any keys no node gets above 1.25 times its share', async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`).join('\n');
    const { out } = await keyfleet(['locate', '-a', 'bounded-load', '-n', 'a', 'b', 'c', 'd', '--summary', '--json'], keys);
    const { nodes } = JSON.parse(out) as { nodes: { owned: number }[] };
    expect(nodes.reduce((sum, { owned }) => sum + owned, 0)).toBe(40);
    expect(Math.max(...nodes.map(({ owned }) => owned))).toBeLessThanOrEqual(13);
  });

  test('counts only the tag of a key, whatever the algorithm', async () => {
    for (const algorithm of ['keyspace', 'rendezvous', 'ketama']) {
      const args = ['locate', '-a', algorithm, '-n', 'a', 'b', 'c', 'd', 'e', 'f', 'g', '--hash-tag', '{}'];
      const owners = (out: string): (string | undefined)[] => out.split('\n').map((line) => line.split('\t')[1]);
      const tagged = owners((await keyfleet([...args, '--', 'x{user:7}y', '{user:7}', 'user:7', '{}user:9', '{user:9'])).out);
      expect(tagged.slice(0, 2)).toEqual([tagged[2], tagged[2]]);
      const plain = owners((await keyfleet([...args.slice(0, -2), '--', '{}user:9', '{user:9'])).out);
      expect(tagged.slice(3)).toEqual(plain);
      const hex = ['x{user:7}y', 'user:7'].map((key) => Buffer.from(key).toString('hex'));
      expect(owners((await keyfleet([...args, '--hex', '--', ...hex])).out).slice(0, 2)).toEqual([tagged[2], tagged[2]]);
    }
  });

  test('takes slots and splits from flags or a file', async () => {
    const inFile = fileWith('ranges.yml', 'algorithm: range\nsplits: [g, p]\nnodes: [a, b, c]\n');
    expect((await keyfleet(['locate', '-f', inFile, '--', 'a', 'golf', 'zulu'])).out).toBe('a\ta\ngolf\tb\nzulu\tc\n');
    expect((await keyfleet(['locate', '-n', 'a', 'b', '--slots', '1_000', '--explain', '--', 'k'])).out).toContain(' of 1000: ');
  });

  test('ends quietly when its reader goes away', async () => {
    const keys = fileWith('many.txt', Array.from({ length: 300_000 }, (_, i) => `key-${i}`).join('\n'));
    const child = spawn(process.execPath, [join(root, 'dist', 'cli', 'main.js'), 'locate', '-n', 'a', 'b', '-k', keys]);
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.once('exit', resolve));
    expect([code, err]).toEqual([0, '']);
  });

  test.each(routing.pools.filter((_, i) => i % 9 === 0))('takes a twemproxy configuration as it is: $pool', async (pool) => {
    const yaml = [
      'other:\n  listen: 127.0.0.1:1\n  servers:\n   - 127.0.0.1:6379:1',
      `${pool.pool}:`,
      '  listen: 127.0.0.1:22121',
      `  hash: ${pool.hash}`,
      ...(pool.hash_tag ? [`  hash_tag: "${pool.hash_tag}"`] : []),
      `  distribution: ${pool.distribution}`,
      '  auto_eject_hosts: false',
      '  redis: true',
      '  servers:',
      ...pool.servers.map(({ name, weight }, i) =>
        name.includes(':') ? `   - ${name}:${weight}` : `   - 127.0.0.1:${7000 + i}:${weight} ${name}`,
      ),
    ];
    const path = fileWith('nutcracker.yml', yaml.join('\n'));
    const { out, err } = await keyfleet(['locate', '--nodes', path, '--pool', pool.pool, '--hex', '--json'], routing.keys_hex.join('\n'));
    expect(err).toBe('');
    const names = pool.servers.map(({ name }) => name);
    const got = out
      .trimEnd()
      .split('\n')
      .map((line) => names.indexOf((JSON.parse(line) as { nodes: string[] }).nodes[0]!));
    expect(got).toEqual(pool.server_index.filter((_, i) => routing.keys_hex[i] !== ''));
  });
});

describe('keyfleet plan', () => {
  const nodes = ['plan', '-n', 'a', 'b', 'c', 'd', '--replicas', '2', '--add', 'e'];
  const args = [...nodes, '--slots', '4_096'];

  test('says who fetches what from whom, and what is needed', async () => {
    const { out } = await keyfleet([...args, '--steps']);
    expect(out).toMatch(/copies of slots move \(\d+\.\d\d %\); the loads afterwards need/);
    expect(out).toMatch(/\ne +\d+\.\d\d %/);
    expect(out).toMatch(/\n\s*0 +pull +e +[\d,]+ +[0-9a-f]{8}-[0-9a-f]{8} /);
    expect((await keyfleet([...nodes, '-a', 'ring', '--steps'])).out).toMatch(/sampled copies move .*\n\s*0 +pull +e +[\d,]+ +[abcd]/s);
    expect((await keyfleet(['plan', '-n', 'a', 'b', '--reweigh', 'a=1'])).out).toContain('Nothing moves.');
  });

  test('prints a plan that the library reads back', async () => {
    const plan = Plan.fromJSON(JSON.parse((await keyfleet([...args, '--json'])).out));
    expect(plan.totals.replicasMoved).toBe(plan.totals.minimumMoves);
    expect(plan.nodes.get('e')!.pulls.length).toBeGreaterThan(0);
  });

  test('goes from one file of nodes to another', async () => {
    const before = fileWith('before.yml', 'replicas: 2\nslots: 4096\nnodes:\n  - a\n  - b:2@z1\n  - { id: c, zone: z2, rack: r1 }\n');
    const after = fileWith('after.json', '{"nodes": ["a", {"id": "d", "weight": 2}, "c"]}');
    const { out } = await keyfleet(['plan', '--nodes', before, '--to', after]);
    expect(out).toMatch(/\nd +\d/);
    expect(out).toMatch(/\nb .*leaves/);
  });
});

describe('keyfleet simulate', () => {
  test('reports balance and movement, and draws them', async () => {
    const svg = join(scratch, 'plot.svg');
    const { out, err } = await keyfleet(['simulate', '-n', 'a', 'b', 'c', '--remove', 'a', '--count', '20_000', '--svg', svg, '--json']);
    expect(err).toBe('');
    const { change, reports } = JSON.parse(out) as {
      change: string;
      reports: { keys: number; ownersMoved: number; copiesPulled: number; before: { nodes: { owned: number }[] } }[];
    };
    const report = reports[0]!;
    expect([change, report.keys, report.ownersMoved]).toEqual(['- a', 20_000, report.before.nodes[0]!.owned]);
    const drawn = readFileSync(svg, 'utf8');
    expect(drawn).toMatch(/^<svg [^>]*>/);
    expect(drawn).toContain('a, before: ');
    expect(drawn.match(/<(g|text|rect|title|line)\b/g)!.length).toBeGreaterThan(20);
  });

  test('compares all algorithms; one that cannot serve the fleet is left out and says why', async () => {
    const { out } = await keyfleet(['simulate', '-n', 'a', 'b:2', 'c', '--algorithm', 'all', '--count', '2000']);
    expect(out).toMatch(/\nring +\d\.\d{3}/);
    expect(out).toMatch(/left out: jump: .*weights/);
    expect((await keyfleet(['simulate', '-n', 'a', 'b', '--algorithm', 'ring,modulo'], '')).out).toMatch(/\nmodulo .*66\.\d\d %/);
  });

  test('tells of keys from a file, node by node', async () => {
    const { out } = await keyfleet(['simulate', '-n', 'a', 'b', '--add', 'c', '--keys', fileWith('few.txt', 'a\nb\nc\nd\n')]);
    expect(out).toMatch(/^keyspace, 4 keys, one copy of each; \+ c\n/);
  });
});

describe('keyfleet hash', () => {
  test('hashes by any name, with a seed, in text or hex', async () => {
    expect((await keyfleet(['hash', '-a', 'xxh64', 'abc'])).out).toBe('44bc2cf5ad770999\tabc\n');
    expect((await keyfleet(['hash', '-a', 'md5', '--hex', '616263'])).out).toBe('900150983cd24fb0d6963f7d28e17f72\t616263\n');
    expect((await keyfleet(['hash', '-a', 'xxh32', '--seed', '0x9e3779b1', '-k', '-'], 'abc\n')).out).not.toBe(
      (await keyfleet(['hash', '-a', 'xxh32'], 'abc\n')).out,
    );
    expect(JSON.parse((await keyfleet(['hash', '--all', '--json', 'abc'])).out)).toMatchObject({ key: 'abc', crc32: '352441c2' });
  });
});

describe('what is wrong is told by flag or line, with exit code 2', () => {
  test.each([
    [['locate', 'k'], 'KF_USAGE', 'no nodes'],
    [['locate', '-n', 'a:x', '--', 'k'], 'KF_USAGE', '--node: "a:x"'],
    [['locate', '-n', 'host:6379', '--', 'k'], 'KF_USAGE', 'host:6379:1'],
    [['locate', '-n', 'a@', '--', 'k'], 'KF_USAGE', '--node: "a@" has no zone'],
    [['locate', '-n', 'a', '-r', '0', '--', 'k'], 'KF_USAGE', '--replicas: "0"'],
    [['locate', '-n', 'a', '-a', 'rnig', '--', 'k'], 'KF_USAGE', 'did you mean ring?'],
    [['locate', '-n', 'a', '--hash', 'md55', '--', 'k'], 'KF_USAGE', '--hash: '],
    [['locate', '-n', 'a', '-a', 'ketama', '--hash', 'xxh64', '--', 'k'], 'KF_USAGE', '--hash: this algorithm takes'],
    [['locate', '-n', 'a', '--hex', '--', 'abc'], 'KF_USAGE', 'key: "abc"'],
    [['locate', '-n', 'a', '-k', 'no-such-file'], 'KF_USAGE', 'cannot read keys from no-such-file'],
    [['locate', '-n', 'a', '--pool', 'p', '--', 'k'], 'KF_USAGE', '--pool'],
    [['locate', '-n', 'a', 'b', '-a', 'range', '--', 'k'], 'KF_USAGE', '--split: '],
    [
      ['locate', '-n', 'a', 'b', 'c', '-a', 'range', '--split', 'p', 'g', '--', 'k'],
      'KF_USAGE',
      '--split: ranges start in ascending order, but "g"',
    ],
    [['locate', '-n', 'a', 'a', '--', 'k'], 'KF_USAGE', '--node: node "a" is there already'],
    [['locate', '-n', 'a', '-a', 'ring', '--slots', '9', '--', 'k'], 'KF_USAGE', '--slots means nothing to the algorithm ring'],
    [['locate', '-n', 'a', '-a', 'maglev', '--slots', '9', '--', 'k'], 'KF_USAGE', '--slots: a Maglev table has a prime size'],
    [['locate', '-n', 'a', '--slots', '2_000_000', '--', 'k'], 'KF_USAGE', '--slots: a slot count'],
    [['locate', '-n', 'a', '--summary', '--explain', '--', 'k'], 'KF_USAGE', '--explain'],
    [['locate', '-n', 'a', '--hash-tag', '{', '--', 'k'], 'KF_USAGE', '--hash-tag: "{"'],
    [['plan', '-n', 'a', 'b', '--remove', 'a', 'b'], 'KF_USAGE', '--remove: no node would be left'],
    [['plan', '-n', 'a', 'b'], 'KF_USAGE', 'nothing changes'],
    [['plan', '-n', 'a', 'b', '--remove', 'z'], 'KF_USAGE', '--remove: there is no node "z"'],
    [['plan', '-n', 'a', 'b', '--add', 'a'], 'KF_USAGE', '--add: node "a" is there already'],
    [['plan', '-n', 'a', 'b', '--reweigh', 'a'], 'KF_USAGE', '--reweigh: "a"'],
    [['simulate', '-n', 'a', 'b:2', '-a', 'jump'], 'KF_USAGE', 'jump knows no weights'],
    [['simulate', '-n', 'a', '--svg', 'no/such/dir/x.svg'], 'KF_USAGE', '--svg: cannot write'],
    [['hash', '--seed', '-1', 'k'], 'KF_USAGE', '--seed'],
  ])('keyfleet %j', async (args, code, says) => {
    const ended = await keyfleet(args);
    expect([ended.code, ended.out]).toEqual([2, '']);
    expect(ended.err).toContain(`${code}: `);
    expect(ended.err).toContain(says);
  });

  test('as exit code and line of the process too', async () => {
    const args = ['locate', '-n', 'a', 'a', '--', 'k'];
    expect(await keyfleetSpawned(args)).toEqual(await keyfleet(args));
  });

  test.each([
    ['nodes: 5', ':1:8: nodes is a list'],
    ['nodes:\n  - a\n  - id: b\n    weight: 0\n', ':4:13: node b: a weight'],
    ['nodes:\n  - a\n  - b:x\n', ':3:5: "b:x"'],
    ['nodes: [a]\nreplicas: two\n', ':2:11: replicas is a whole number'],
    ['nodes: [a]\ncolour: red\n', ':2:9: unknown setting colour'],
    ['- { id: a, wieght: 2 }', ':1:20: unknown field wieght'],
    ['p:\n  servers:\n    - nonsense\n', ':3:7: a server is'],
    ['p:\n  distribution: random\n  servers:\n    - h:1:1\n', ':2:17: distribution random'],
    ['p:\n  servers: []\nq:\n  servers: []\n', 'several pools (p, q); choose one with --pool'],
    ['nodes: [a]\nsplits: 5\n', ':2:9: splits is a list'],
    ['nodes:\n  - a\n  - { id: a }\n', ':3:5: node "a" is there already'],
    ['p:\n  servers:\n    - h:1:1\n    - h:1:2\n', ':4:7: node "h:1" is there already'],
    ['{"nodes": [', ':1:'],
  ])('a file of nodes: %j', async (text, says) => {
    const ended = await keyfleet(['locate', '--nodes', fileWith('wrong.yml', text), '--', 'k']);
    expect(ended.code).toBe(2);
    expect(ended.err).toContain('KF_CONFIG: ');
    expect(ended.err).toContain(`wrong.yml`);
    expect(ended.err).toContain(says);
  });

  test.each([
    ['61\n6\n', '--hex', 'standard input:2: "6"'],
    [Buffer.from('ok\nok\n\xff\n', 'latin1'), '--summary', 'standard input:3: not UTF-8'],
  ])('a line of keys: %j', async (input, flag, says) => {
    const ended = await keyfleet(['locate', '-n', 'a', flag], input);
    expect(ended.code).toBe(6);
    expect(ended.err).toContain(says);
  });
});
