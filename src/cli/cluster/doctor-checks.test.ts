import { describe, expect, test } from 'vitest';
import type { ClusterReport, NodeReport } from '../../http/cluster-admin.ts';
import type { StatusReport } from '../../http/status.ts';
import { checkCluster, checkDisk, checkNats, checkStore, type Finding } from './doctor-checks.ts';

const node = (id: string, change: Partial<NodeReport> = {}): NodeReport => ({
  ...{ id, status: 'up', zone: '', weight: 1, release: '1.0.0', addresses: { http: `${id}:7380` }, sinceMs: 0, leads: 1, replicas: 1 },
  isSelf: id === 'a',
  ...change,
});
const shard = (id: number, replicas: readonly string[], leader: string | null = replicas[0]!) => ({
  id,
  generation: 1,
  here: null,
  lost: null as ClusterReport['keyspaces'][number]['shards'][number]['lost'],
  leader,
  replicas,
  lag: {},
});
const report = (change: Partial<ClusterReport> = {}): ClusterReport => ({
  ...{ cluster: 'shop', node: 'a', metaLeader: 'a', metaLost: null, replication: 3, unready: null, risks: [] },
  nodes: [node('a'), node('b'), node('c')],
  keyspaces: [{ name: 'default', shards: [shard(1, ['a', 'b', 'c']), shard(2, ['b', 'c', 'a'])], workflows: [] }],
  ...change,
});
const said = (findings: readonly Finding[], level: Finding['level']): string[] =>
  findings.filter((one) => one.level === level).map(({ what }) => what);
const of = (change: Partial<ClusterReport>, answers: Parameters<typeof checkCluster>[1] = []): Finding[] =>
  checkCluster(report(change), answers, 1_000_000);

describe('what doctor makes of a cluster', () => {
  test('nothing, when all is well', () => {
    const findings = of({});
    expect([...said(findings, 'wrong'), ...said(findings, 'risk')]).toEqual([]);
    expect(said(findings, 'fine')).toEqual(['3 nodes are up, 3 copies of each shard', 'default: 2 shards, each led and copied']);
  });

  test('a node that is down is wrong, and so few copies a risk', () => {
    const findings = of({ nodes: [node('a'), node('b'), node('c', { status: 'down' }), node('d')] });
    expect(said(findings, 'wrong')).toEqual(['node c is down']);
    expect(said(findings, 'risk')).toEqual(['default: too few live copies of shard 1, 2']);
    expect(findings.find(({ level }) => level === 'wrong')?.advice).toContain('keyfleet node remove c');
  });

  test('fewer nodes than copies: a risk, once, and not one for each shard', () => {
    const keyspaces = [{ name: 'default', shards: [shard(1, ['a', 'b'])], workflows: [] }];
    expect(said(of({ nodes: [node('a'), node('b')], keyspaces }), 'risk')).toEqual(['2 nodes are up for 3 copies of each shard']);
  });

  test('shards that nobody leads, and a meta shard that nobody leads, are wrong', () => {
    const alone = { ...shard(1, ['a', 'b', 'c'], null), here: 'follows b in epoch 7' };
    const findings = of({ keyspaces: [{ name: 'default', shards: [alone], workflows: [] }], metaLeader: null });
    expect(said(findings, 'wrong')).toEqual(['nobody leads the meta shard', 'default: nobody leads shard 1']);
    expect(findings.find(({ what }) => what.includes('shard 1'))?.advice).toContain('a, shard 1: follows b in epoch 7');
  });

  test('logs that take nothing, as without a quorum of NATS servers, are wrong, and nothing is fine of their shards', () => {
    const stuck = { ...shard(1, ['a', 'b', 'c']), trouble: 'its log has taken no entry for 9.0 s; are most of its servers up?' };
    const keyspaces = [{ name: 'default', shards: [stuck, { ...stuck, id: 2 }, shard(3, ['a', 'b', 'c'])], workflows: [] }];
    const findings = of({ keyspaces });
    expect(said(findings, 'wrong')).toEqual([`default: shard 1, 2: ${stuck.trouble}`]);
    expect(said(findings, 'fine')).toEqual(['3 nodes are up, 3 copies of each shard']);
  });

  test('a log that is lost is wrong, and whoever can help is named; its shard needs no leader meanwhile', () => {
    const without = (waitsFor: readonly string[], hasNoCopy = false) => ({
      ...shard(1, ['a', 'b', 'c'], null),
      lost: { sinceMs: 0, waitsFor, hasNoCopy },
    });
    const findings = (lost: ReturnType<typeof without>) => of({ keyspaces: [{ name: 'default', shards: [lost], workflows: [] }] });
    expect(said(findings(without([])), 'wrong')).toEqual(['default: shard 1: its log is lost, and begins anew']);
    const waiting = findings(without(['b', 'c']));
    expect(said(waiting, 'wrong')).toEqual(['default: shard 1: its log is lost; it goes on when b, c can say what was written last']);
    expect(waiting.find(({ level }) => level === 'wrong')?.advice).toContain('keyfleet shard recover 1 --accept-loss');
    expect(said(findings(without([], true)), 'wrong')).toEqual(['default: shard 1: its log is lost, and no node has a sound copy']);
    expect(said(waiting, 'fine')).toEqual(['3 nodes are up, 3 copies of each shard']);
    const metaLost = { sinceMs: 0, waitsFor: ['c'], hasNoCopy: false };
    expect(said(of({ metaLost, metaLeader: null }), 'wrong')).toEqual([
      'the meta shard: its log is lost; it goes on when c can say what was written last',
    ]);
  });

  test('too few zones, several releases, a copy that lags, a workflow that hangs, unsafe NATS servers: risks', () => {
    const lagging = { ...shard(1, ['a', 'b', 'c']), lag: { b: 30_000, c: 10 } };
    const workflow = { kind: 'merge', op: 7, sinceMs: 0 } as ClusterReport['keyspaces'][number]['workflows'][number];
    const findings = of({
      nodes: [node('a', { zone: 'x' }), node('b', { zone: 'y' }), node('c', { zone: 'x', release: '1.1.0' })],
      keyspaces: [{ name: 'default', shards: [lagging], workflows: [workflow] }],
      risks: ['server s1 does not sync every write'],
    });
    expect(said(findings, 'wrong')).toEqual([]);
    expect(said(findings, 'risk')).toEqual([
      'there are 2 zones for 3 copies',
      'nodes run releases 1.0.0, 1.1.0',
      'default: b is 30000 entries behind at shard 1',
      'default: the merge of number 7 has been under way for 16 min 40 s',
      'server s1 does not sync every write',
    ]);
  });

  test('what nodes say of themselves: silent, a full disk', () => {
    const refusal = { code: 'KF_DISK_FULL', message: 'no room' };
    const findings = of({}, [
      { id: 'b', url: 'http://b:7380', failure: 'connection refused' },
      { id: 'c', url: 'http://c:7380', status: { refusal, storage: {} } as unknown as StatusReport },
      {
        id: 'd',
        url: 'http://d:7380',
        status: { refusal: null, storage: { space: { freeBytes: 5_000, totalBytes: 100_000 } } } as unknown as StatusReport,
      },
    ]);
    expect(said(findings, 'wrong')).toEqual([
      'node b does not answer at http://b:7380: connection refused',
      'node c stores nothing: KF_DISK_FULL: no room',
    ]);
    expect(said(findings, 'risk')).toEqual(['4.9 KiB of 97.7 KiB are free on the disk of node d']);
  });

  test('a clock that is wrong: of a node, or of the machine that asks', () => {
    const clocks = (aheadMs: Readonly<Record<string, number>>): string[] =>
      said(
        of(
          {},
          Object.entries(aheadMs).map(([id, ms]) => ({ id, url: `http://${id}:7380`, aheadMs: ms })),
        ),
        'risk',
      );
    expect(clocks({ a: 400, b: -600, c: 1_900 })).toEqual([]);
    expect(clocks({ a: 0, b: 100, c: -65_200 })).toEqual(['the clock of c is 1 min 5 s behind']);
    expect(clocks({ a: 90_000, b: 90_100 })).toEqual(['the clock of this machine is 1 min 30 s behind']);
    expect(clocks({ a: -90_000 })).toEqual(['the clocks of a and this machine are 1 min 30 s apart']);
  });
});

describe('what doctor makes of the rest', () => {
  test('a store that refuses writes, or may lose them', () => {
    const refusal = { code: 'KF_DISK_FULL', message: 'no room' };
    expect(said(checkStore({ refusal, durability: 'os' } as StatusReport), 'wrong')).toHaveLength(1);
    expect(said(checkStore({ refusal: null, durability: 'os', storage: {} } as unknown as StatusReport), 'risk')).toHaveLength(1);
    expect(said(checkStore({ refusal: null, durability: 'sync', storage: {} } as unknown as StatusReport), 'fine')).toEqual([
      'writes are taken',
    ]);
  });

  test('a disk that is nearly full', () => {
    expect(checkDisk('where /data is', { freeBytes: 5, totalBytes: 100 }).level).toBe('risk');
    expect(checkDisk('where /data is', { freeBytes: 50, totalBytes: 100 }).level).toBe('fine');
  });

  test('nats-servers: silent, without quorum, without a leader, full', () => {
    const well = { url: 'http://s1', name: 's1', version: '2.15.1', hasLeader: true, usedBytes: 1, limitBytes: 100 };
    expect(checkNats([well], [])).toEqual([{ level: 'fine', what: '1 nats-servers 2.15.1, every write synced' }]);
    const dead = (url: string) => ({ url, failure: 'connection refused' });
    expect(said(checkNats([well, well, dead('http://s3')], []), 'wrong')).toEqual([
      'no nats-server answers at http://s3: connection refused',
    ]);
    expect(said(checkNats([well, dead('http://s2'), dead('http://s3')], []), 'wrong').at(-1)).toContain('no quorum');
    const without = { ...well, name: 's2', trouble: 'runs without JetStream' };
    expect(said(checkNats([well, well, without], []), 'wrong')).toEqual(['nats-server s2 runs without JetStream']);
    expect(said(checkNats([well, without, without], []), 'wrong').at(-1)).toContain('no quorum');
    expect(said(checkNats([{ ...well, hasLeader: false }], []), 'wrong')).toEqual(['nats-server s1 knows no leader']);
    const group = (name: string, groupSize: number) => ({ ...well, name, groupSize });
    expect(checkNats([group('s1', 3), group('s2', 3), group('s3', 3)], [])).toHaveLength(1);
    const apart = checkNats([group('s1', 2), group('s2', 2), group('s3', 3)], []);
    expect(said(apart, 'wrong')).toEqual([expect.stringContaining('s1, s2 have begun anew without their data, and without s3')]);
    const old = checkNats([{ ...well, usedBytes: 95 }], ['server s1 is version 2.9.10']);
    expect(said(old, 'risk')).toHaveLength(2);
    expect(old[0]!.advice).toContain('nats-server 2.15.1 or newer');
  });
});
