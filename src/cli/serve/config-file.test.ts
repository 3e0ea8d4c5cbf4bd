import { describe, expect, test } from 'vitest';
import { parseConfig, readConfigFile } from './config-file.ts';
import { SETTINGS, settle } from './serve-settings.ts';

const problem = (text: string): string => {
  try {
    parseConfig(text, 'k.yml');
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`;
  }
  return 'none';
};

describe('a configuration file', () => {
  test('gives every setting a place', () => {
    const text = `
dir: /data
host: 0.0.0.0
durability: os
shards: 64
modules: [./cart.js, chairs=./furniture.js]
checkModules: true
passwordFile: secret
protected: false
resp: { port: 6379, maxClients: 5, idleTimeoutSeconds: 30 }
http:
  port: off
  maxConnections: 7
  maxBodyBytes: 1000
  requestTimeoutMs: 5000
log:
  level: warn
  format: json
cluster: { name: shop, node: n-1, zone: rack-2, weight: 2.5, replication: 5, advertise: db.example, redirect: always, acceptMetaLoss: true }
nats:
  servers: [nats://a:4222, 'nats://b:4222,nats://c:4222']
  monitors: http://a:8222
  user: keyfleet
  passwordFile: nats-secret
  creds: nats.creds
  replicas: 3
  allowUnsafe: true
`;
    const settings = settle(new Map(), parseConfig(text, 'k.yml'));
    expect(settings).toEqual({
      dir: '/data',
      host: '0.0.0.0',
      durability: 'os',
      shards: 64,
      modules: ['./cart.js', 'chairs=./furniture.js'],
      checkModules: true,
      passwordFile: 'secret',
      isProtected: false,
      respPort: 6379,
      maxClients: 5,
      idleTimeoutSeconds: 30,
      httpPort: undefined,
      httpMaxConnections: 7,
      httpMaxBodyBytes: 1000,
      httpRequestTimeoutMs: 5000,
      logLevel: 'warn',
      logFormat: 'json',
      cluster: 'shop',
      node: 'n-1',
      zone: 'rack-2',
      weight: 2.5,
      replication: 5,
      advertise: 'db.example',
      redirects: 'always',
      nats: ['nats://a:4222', 'nats://b:4222', 'nats://c:4222'],
      natsMonitors: ['http://a:8222'],
      natsUser: 'keyfleet',
      natsPasswordFile: 'nats-secret',
      natsCreds: 'nats.creds',
      natsReplicas: 3,
      allowUnsafeNats: true,
      acceptMetaLoss: true,
    });
    expect(Object.keys(settings).length).toBe(SETTINGS.length);
  });

  test.each(['', '# nothing\n', '---\n'])('may say nothing: %j', (text) => {
    expect(parseConfig(text, 'k.yml').size).toBe(0);
  });

  test.each([
    ['a list of lists', 'modules: [a.js, [b.js]]\n', 'KF_CONFIG k.yml:1:17: modules needs a single value or a list of them'],
    ['a list where one value belongs', 'dir: [/data]\n', 'KF_CONFIG k.yml:1:6: dir needs a single value'],
    ['an unknown key', 'dir: /data\nhots: ::1\n', 'KF_CONFIG k.yml:2:1: unknown setting "hots" (did you mean host?)'],
    ['an unknown key in a section', 'resp:\n  prot: 1\n', 'KF_CONFIG k.yml:2:3: unknown setting "resp.prot" (did you mean resp.port?)'],
    ['a value out of range', 'shards: 0\n', 'KF_CONFIG k.yml:1:9: shards must be a whole number from 1 to 4096, not 0'],
    ['a port that is none', 'http:\n  port: 99999\n', 'KF_CONFIG k.yml:2:9: http.port must be a port from 0 to 65535, or off, not 99999'],
    ['a word not among those allowed', 'durability: full\n', 'KF_CONFIG k.yml:1:13: durability must be one of sync, os, none, not "full"'],
    ['a value where a section belongs', 'resp: 6379\n', 'KF_CONFIG k.yml:1:7: resp is a section: its settings stand indented below it'],
    ['a list where a value belongs', 'dir: [a, b]\n', 'KF_CONFIG k.yml:1:6: dir needs a single value'],
    ['no value', 'dir:\n', 'KF_CONFIG k.yml:1:5: dir needs a single value'],
    ['something else than a map', '- a\n- b\n', 'KF_CONFIG k.yml:1:1: a configuration file is a map of settings'],
    ['a yes that is no boolean', 'protected: yes please\n', 'KF_CONFIG k.yml:1:12: protected must be true or false, not "yes please"'],
  ])('with %s is refused, with line and column', (_, text, message) => {
    expect(problem(text)).toBe(message);
  });

  test('that is no YAML, or names a key twice, is refused with line and column', () => {
    expect(problem('dir: "open\nhost: x\n')).toMatch(/^KF_CONFIG k\.yml:\d+:\d+: /);
    expect(problem('dir: a\ndir: b\n')).toMatch(/^KF_CONFIG k\.yml:2:1: .*unique/i);
    expect(problem('a:\n\t- b\n')).toMatch(/^KF_CONFIG k\.yml:2:\d+: /);
  });

  test('that is not there is refused with its name: KF_CONFIG', () => {
    expect(() => readConfigFile('no/such.yml')).toThrow(/cannot read the configuration file no\/such\.yml/);
  });

  test('yields to flags', () => {
    const settings = settle(
      new Map<string, unknown>([
        ['shards', 3],
        ['respPort', undefined],
      ]),
      parseConfig('shards: 5\nresp: { port: 1 }\nhost: a\n', 'k.yml'),
    );
    expect([settings.shards, settings.respPort, settings.host, settings.httpPort]).toEqual([3, undefined, 'a', 7380]);
  });
});
