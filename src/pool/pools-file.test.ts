import { describe, expect, test } from 'vitest';
import { formatServer, parseServer } from './pool-config.ts';
import { parsePoolsFile } from './pools-file.ts';
import { rewriteServers } from './pools-file-edit.ts';

/** As shipped with twemproxy, comments included. */
const WILD = `# nutcracker.yml
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: true
  redis: true
  server_retry_timeout: 2000
  server_failure_limit: 1
  servers:
   - 127.0.0.1:6379:1

beta:
  listen: /tmp/beta.sock 0666
  hash: fnv1a_64
  hash_tag: "{}"
  distribution: modula
  auto_eject_hosts: false
  timeout: 400
  redis: true
  redis_auth: foobared
  redis_db: 3
  servers:
   - 127.0.0.1:6380:1 server1   # the old machine
   - 127.0.0.1:6381:2 server2
   - /run/redis.sock:1 server3
   - cache:11211:4

gamma:
  listen: 127.0.0.1:22123
  servers:
  - 127.0.0.1:11212:1
`;

describe('a file of twemproxy', () => {
  test('is read as it is, with its defaults', () => {
    const { pools } = parsePoolsFile(WILD, 'nutcracker.yml');
    expect(pools.map(({ name }) => name)).toEqual(['alpha', 'beta', 'gamma']);
    expect(pools[0]).toMatchObject({
      listen: { host: '127.0.0.1', port: 22_121 },
      autoEjectHosts: true,
      serverRetryTimeoutMs: 2_000,
      serverFailureLimit: 1,
      redis: true,
      backlog: 512,
      serverConnections: 1,
    });
    expect(pools[1]).toMatchObject({
      listen: { path: '/tmp/beta.sock', mode: 0o666 },
      hashTag: '{}',
      timeoutMs: 400,
      auth: 'foobared',
      db: 3,
    });
    expect(pools[1]!.servers).toEqual([
      { name: 'server1', address: { host: '127.0.0.1', port: 6380 }, weight: 1 },
      { name: 'server2', address: { host: '127.0.0.1', port: 6381 }, weight: 2 },
      { name: 'server3', address: { path: '/run/redis.sock' }, weight: 1 },
      { name: 'cache', address: { host: 'cache', port: 11_211 }, weight: 4 },
    ]);
    expect(pools[2]).toMatchObject({ redis: false, hash: 'fnv1a_64', distribution: 'ketama' });
    expect(pools[2]!.timeoutMs).toBeUndefined();
  });

  test.each([
    ['auto_eject_hosts: true', /so auto_eject_hosts is not for it/],
    ['distribution: slots\n  cluster: true', /follows the slots of a Redis Cluster/],
    ['distribution: slots\n  redirects: backends', /cannot tell them where a key on its way is.*use redirects: proxies/],
  ])('has no owner together with %s', (settings, why) => {
    const text = (owner: string): string => `p:\n  redis: true\n${owner}  ${settings}\n  servers: ["a:1:1"]\n`;
    expect(parsePoolsFile(text(''), 'p.yml').pools).toHaveLength(1);
    expect(() => parsePoolsFile(text('  owner: http://127.0.0.1:22223\n'), 'p.yml')).toThrow(why);
  });

  test('may have keys of ours', () => {
    const [pool] = parsePoolsFile(
      'p:\n  redis: true\n  distribution: ranges\n  range_by: number\n  ranges:\n    - { server: R0 }\n    - { from: 10000, server: R1 }\n' +
        '  username: app\n  redis_auth: "007"\n  tls: { ca: ca.pem, verify: false }\n  listen_tls: { cert: c, key: k }\n  workers: 2\n  stats: 9100\n' +
        '  zones: { R0: a, R1: b }\n  servers: ["a:1:1 R0", "[::1]:2:1 R1"]\n',
      'p.yml',
    ).pools;
    expect(pool).toMatchObject({
      rangeBy: 'number',
      ranges: [{ server: 'R0' }, { from: 10_000, server: 'R1' }],
      username: 'app',
      auth: '007',
      tls: { ca: 'ca.pem', verify: false },
      listenTls: { cert: 'c', key: 'k' },
      workers: 2,
      stats: { host: '127.0.0.1', port: 9_100 },
    });
    expect(pool!.servers.map(({ address, zone }) => [address, zone])).toEqual([
      [{ host: 'a', port: 1 }, 'a'],
      [{ host: '::1', port: 2 }, 'b'],
    ]);
  });
});

describe('what is wrong is told by line, column and key', () => {
  const servers = '  servers:\n    - a:1:1\n';
  test.each([
    ['p:\n  hash: sha9\n', /^f:2:9: pool p: hash is one of/],
    ['p:\n  distribution: spread\n', /^f:2:17: pool p: distribution is one of ketama/],
    ['p:\n  hash_tag: "{"\n', /^f:2:13: pool p: hash_tag is two characters/],
    ['p:\n  timeout: soon\n', /^f:2:12: pool p: timeout is a whole number/],
    ['p:\n  redis: yes\n', /^f:2:10: pool p: redis is true or false/],
    ['p:\n  redis_auth: x\n', /^f:2:15: pool p: redis_auth is for pools with redis: true/],
    ['p:\n  listen: nowhere\n', /^f:2:11: pool p: listen is "host:port"/],
    ['p:\n  colour: red\n', /^f:2:3: pool p: unknown key colour; there are .*hash_tag/],
    ['p:\n  hash: md5\n  hash: md5\n', /^f:3:3: .*unique/],
    ['p:\n  tls: { pem: x }\n', /^f:2:10: pool p: tls: unknown key pem/],
    ['p:\n  zones: { b: east }\n', /^f:2:12: pool p: zones: no server is called b/],
    ['p:\n  distribution: ranges\n', /^f:2:17: pool p: distribution ranges needs/],
    ['p:\n  distribution: ranges\n  ranges: [{ server: b }]\n', /^f:3:12: pool p: ranges: no server is called b/],
  ] as const)('%#', (text, message) => {
    expect(() => parsePoolsFile(text + servers, 'f')).toThrow(
      expect.objectContaining({ code: 'KF_CONFIG', message: expect.stringMatching(message) }),
    );
  });

  test.each([
    ['', /a file of pools is a map/],
    ['- a\n', /a file of pools is a map/],
    ['p: 1\n', /^f:1:4: pool p: a pool is a map/],
    ['p:\n  redis: true\n', /pool p: servers is a list/],
    ['p:\n  servers: []\n', /^f:2:12: pool p: servers is empty/],
    ['p:\n  servers:\n    - a:1\n', /^f:3:7: pool p: servers: a server is "host:port:weight"/],
    ['p:\n  servers:\n    - a:1:0\n', /^f:3:7: /],
    ['p:\n  servers:\n    - a:70000:1\n', /^f:3:7: /],
    ['p:\n  servers:\n    - a:1:1\n    - a:1:2\n', /^f:4:7: pool p: servers: a:1 is there twice/],
    ['p: [\n', /^f:/],
  ] as const)('of the servers or the whole: %#', (text, message) => {
    expect(() => parsePoolsFile(text, 'f')).toThrow(
      expect.objectContaining({ code: 'KF_CONFIG', message: expect.stringMatching(message) }),
    );
  });
});

describe('servers written back', () => {
  test('leave all other lines, comments and pools as they were', () => {
    const [, beta] = parsePoolsFile(WILD, 'f').pools;
    const changed = beta!.servers
      .filter(({ name }) => name !== 'server2')
      .map((server) => (server.name === 'server1' ? { ...server, weight: 5 } : server))
      .concat(parseServer('new:7000:2 server9')!);
    const text = rewriteServers(WILD, 'f', 'beta', changed);
    expect(text).toBe(
      WILD.replace('127.0.0.1:6380:1 server1', '127.0.0.1:6380:5 server1')
        .replace('   - 127.0.0.1:6381:2 server2\n', '')
        .replace('   - cache:11211:4\n', '   - cache:11211:4\n   - new:7000:2 server9\n'),
    );
    expect(parsePoolsFile(text, 'f').pools[1]!.servers).toEqual(changed);
    expect(rewriteServers(WILD, 'f', 'beta', beta!.servers)).toBe(WILD);
  });

  test('work in a flow list and without a line end at the end', () => {
    const text = 'p: { redis: true, servers: ["a:1:1", "b:1:1"] }';
    const changed = ['b:1:3', 'c:1:1'].map((one) => parseServer(one)!);
    expect(parsePoolsFile(rewriteServers(text, 'f', 'p', changed), 'f').pools[0]!.servers).toEqual(changed);
    const block = 'p:\n  servers:\n    - a:1:1';
    expect(rewriteServers(block, 'f', 'p', [parseServer('a:1:1')!, parseServer('b:1:1')!])).toBe(
      'p:\n  servers:\n    - a:1:1\n    - b:1:1\n',
    );
  });

  test('are refused for a pool that is not there: KF_CONFIG', () => {
    expect(() => rewriteServers(WILD, 'f', 'delta', [])).toThrow(expect.objectContaining({ code: 'KF_CONFIG' }));
  });

  test.each(['a:1:1', 'a:11211:3', '/x.sock:2', '/x.sock:2 n', 'h:9:1 n', '[::1]:6379:1'])('%s is formatted as it was read', (text) => {
    expect(formatServer(parseServer(text)!)).toBe(text);
  });
});
