import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KeyfleetError } from '../../src/base/errors.ts';
import { nextMoves, sameMovesUntilMs } from '../../src/shard/meta/next-moves.ts';
import type { NodeRecord } from '../../src/shard/meta/node-record.ts';
import { placeShards, replicationOf } from '../../src/shard/meta/placement.ts';
import { MetaCluster } from './meta-cluster.ts';

const MINUTES_MS = 60_000;
const END = 0x1_0000_0000;

/** Brings every move under way to its end, and then begins what is called for, until nothing is. How many shards were brought to a node. */
function settle(cluster: MetaCluster): number {
  let copies = 0;
  for (let round = 0; ; round++) {
    expect(round).toBeLessThan(500);
    finish(cluster);
    const before = cluster.shards();
    if (!cluster.cluster({ kind: 'place' })) return copies;
    checkOnTheWay(cluster, before);
    for (const name of cluster.nodes.keyspaces) copies += cluster.map(name).workflows.filter(({ kind }) => kind === 'move').length;
  }
}

function finish(cluster: MetaCluster): void {
  for (const name of cluster.nodes.keyspaces) {
    for (const workflow of cluster.map(name).workflows)
      if (workflow.kind === 'move') cluster.change(name, { kind: 'move-done', op: workflow.op });
  }
}

/** No shard may lose a living replica before the one that replaces it is there, unless there are as many as there can be without it. */
function checkOnTheWay(cluster: MetaCluster, before: ReturnType<MetaCluster['shards']>): void {
  const { nodes, replication } = cluster.nodes;
  const isLive = (id: string): boolean => nodes.some((node) => node.id === id && (node.status === 'up' || node.status === 'draining'));
  const ups = nodes.filter(({ status }) => status === 'up').length;
  const after = new Map(cluster.shards().map((shard) => [shard.id, shard]));
  for (const { id, replicas = [] } of before) {
    const now = after.get(id)!.replicas!;
    expect(new Set(now).size).toBe(now.length);
    expect(now.filter(isLive).length).toBeGreaterThanOrEqual(Math.min(replicas.filter(isLive).length, replication, ups));
  }
}

/** Everything that a cluster at rest owes its people. */
function checkAtRest(cluster: MetaCluster): void {
  const { nodes, replication } = cluster.nodes;
  const shards = cluster.shards();
  const up = nodes.filter(({ status }) => status === 'up');
  const isUp = (id: string): boolean => up.some((node) => node.id === id);
  const wanted = replicationOf(up, replication);
  for (const { replicas = [] } of shards) {
    expect(new Set(replicas).size).toBe(replicas.length);
    expect(replicas.filter(isUp)).toHaveLength(wanted);
    // What is not up is kept only for want of another.
    if (up.length >= replication) expect(replicas).toHaveLength(wanted);
    for (const id of replicas) expect(nodes.find((node) => node.id === id)?.status).not.toMatch(/left|draining/);
    const zones = new Set(up.map(({ zone }) => zone)).size;
    expect(new Set(replicas.filter(isUp).map((id) => up.find((node) => node.id === id)!.zone)).size).toBe(Math.min(zones, wanted));
  }
  // It is what the planner would have: as even by weight, and led as evenly, as can be.
  const held = shards.map(({ id, replicas = [] }) => ({ id, replicas: replicas.filter(isUp) }));
  const planned = placeShards({ nodes: up, shards: held, replication: wanted });
  for (const { id, replicas } of held) expect(new Set(replicas)).toEqual(new Set(planned.get(id)!));
  for (const node of up) {
    const holds = held.filter(({ replicas }) => replicas.includes(node.id)).length;
    const leads = held.filter(({ replicas }) => replicas[0] === node.id).length;
    expect(leads).toBeGreaterThanOrEqual(Math.floor(holds / wanted));
    expect(leads).toBeLessThanOrEqual(Math.ceil(holds / wanted));
  }
}

describe('placing the shards of a cluster', () => {
  test('gives every node its share by weight, to within one shard, zones apart, and leaders even', () => {
    const cluster = new MetaCluster();
    for (const [index, zone] of ['a', 'a', 'b', 'b', 'c', 'c'].entries())
      cluster.join(`n${index + 1}`, { zone, weight: index % 2 === 0 ? 1 : 3 });
    cluster.register('users', 16);
    expect(settle(cluster)).toBe(0);
    checkAtRest(cluster);
    const count = (id: string): number => cluster.shards().filter(({ replicas }) => replicas!.includes(id)).length;
    expect(['n1', 'n2', 'n3', 'n4', 'n5', 'n6'].map(count)).toEqual([4, 12, 4, 12, 4, 12]);
  });

  test('grows replication as nodes join, up to three, and moves to a fourth its fair share and nothing else', () => {
    const cluster = new MetaCluster();
    cluster.join('n1');
    cluster.register('users', 8);
    const copies: number[] = [];
    for (const id of ['n2', 'n3', 'n4']) {
      cluster.join(id);
      copies.push(settle(cluster));
      checkAtRest(cluster);
    }
    expect(copies).toEqual([8, 8, 6]);
  });

  test('waits for a node that is down, and gives what it had to others when it was down too long', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2', 'n3', 'n4']) cluster.join(id);
    cluster.register('users', 8);
    settle(cluster);
    cluster.cluster({ kind: 'node-status', id: 'n2', status: 'down' });
    cluster.nowMs += 4 * MINUTES_MS;
    expect(cluster.cluster({ kind: 'place' })).toBe(false);
    cluster.nowMs += MINUTES_MS;
    expect(settle(cluster)).toBe(6);
    checkAtRest(cluster);
    // It is back, and is given as much as is fair, since it has nothing that counts any more.
    cluster.join('n2');
    expect(settle(cluster)).toBe(6);
    checkAtRest(cluster);
  });

  test('keeps a node in mind that is down for long when nobody can replace it', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2', 'n3']) cluster.join(id);
    cluster.register('users', 4);
    settle(cluster);
    cluster.cluster({ kind: 'node-status', id: 'n2', status: 'down' });
    cluster.nowMs += 600 * MINUTES_MS;
    settle(cluster);
    for (const { replicas } of cluster.shards()) expect(replicas).toContain('n2');
    cluster.cluster({ kind: 'node-leave', id: 'n2' });
    settle(cluster);
    for (const { replicas } of cluster.shards()) expect([...replicas!].sort()).toEqual(['n1', 'n3']);
  });

  test('empties a node that drains, which may then leave', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2', 'n3', 'n4']) cluster.join(id);
    cluster.register('users', 8);
    cluster.cluster({ kind: 'node-drain', id: 'n3', drains: true });
    expect(() => cluster.cluster({ kind: 'node-leave', id: 'n3' })).toThrow(expect.objectContaining({ code: 'KF_NODE_IN_USE' }));
    expect(settle(cluster)).toBe(6);
    checkAtRest(cluster);
    cluster.cluster({ kind: 'node-leave', id: 'n3' });
    expect(cluster.nodes.nodes.find(({ id }) => id === 'n3')?.status).toBe('left');
  });

  test('a node that drains, goes down and comes back, drains on', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2']) cluster.join(id);
    const status = (): string => cluster.nodes.nodes[0]!.status;
    cluster.cluster({ kind: 'node-drain', id: 'n1', drains: true });
    cluster.cluster({ kind: 'node-status', id: 'n1', status: 'down' });
    expect(status()).toBe('down');
    cluster.join('n1');
    expect(status()).toBe('draining');
    cluster.cluster({ kind: 'node-drain', id: 'n1', drains: false });
    expect(status()).toBe('up');
  });

  test('brings at most two shards to a node at a time, and the shards that lost most come first', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2', 'n3']) cluster.join(id);
    cluster.register('users', 6);
    cluster.cluster({ kind: 'node-status', id: 'n1', status: 'down' });
    cluster.cluster({ kind: 'node-leave', id: 'n1' });
    settle(cluster);
    cluster.join('n4');
    cluster.cluster({ kind: 'place' });
    expect(cluster.map('users').workflows.map((one) => one.kind === 'move' && one.add)).toEqual(['n4', 'n4']);
    expect(cluster.cluster({ kind: 'place' })).toBe(false);
  });

  test('undoes a move to a node that went down meanwhile', () => {
    const cluster = new MetaCluster();
    for (const id of ['n1', 'n2']) cluster.join(id);
    cluster.register('users', 1);
    cluster.join('n3');
    cluster.cluster({ kind: 'place' });
    expect(cluster.map('users').workflows).toHaveLength(1);
    cluster.cluster({ kind: 'node-status', id: 'n3', status: 'down' });
    cluster.cluster({ kind: 'place' });
    expect(cluster.map('users').workflows).toEqual([]);
    cluster.cluster({ kind: 'node-status', id: 'n3', status: 'up' });
    cluster.cluster({ kind: 'place' });
    expect(cluster.map('users').workflows).toHaveLength(1);
  });

  test('has one answer, whatever the order in which nodes and shards are given', () => {
    const ids = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'), { minLength: 1 });
    fc.assert(
      fc.property(ids, fc.integer({ min: 1, max: 20 }), fc.infiniteStream(fc.nat(6)), (names, count, chance) => {
        const nodes = names.map((id) => ({ id, weight: 1 + (chance.next().value! % 3), zone: `z${chance.next().value! % 2}` }));
        const shards = Array.from({ length: count }, (_, id) => ({
          id,
          replicas: [...new Set([chance.next().value!, chance.next().value!].map((number) => 'abcdefg'[number]!))],
        }));
        const replication = replicationOf(nodes, 3);
        const one = placeShards({ nodes, shards, replication });
        const other = placeShards({ nodes: [...nodes].reverse(), shards: [...shards].reverse(), replication });
        expect([...other].sort((a, b) => a[0] - b[0])).toEqual([...one]);
      }),
      { numRuns: 50, seed: 5 },
    );
  });
});

/** One thing that happens to a cluster; numbers say to whom. */
type Event = readonly [
  kind:
    | 'join'
    | 'down'
    | 'up'
    | 'drain'
    | 'undrain'
    | 'leave'
    | 'weigh'
    | 'zone'
    | 'wait'
    | 'place'
    | 'finish'
    | 'split'
    | 'merge'
    | 'register'
    | 'replication'
    | 'move',
  who: number,
  what: number,
];

const KINDS: readonly Event[0][] = [
  'join',
  'join',
  'down',
  'up',
  'drain',
  'undrain',
  'leave',
  'weigh',
  'zone',
  'wait',
  'place',
  'place',
  'finish',
  'split',
  'merge',
  'register',
  'replication',
  'move',
];

describe('a cluster to which anything happens', () => {
  const events = fc.array(fc.tuple(fc.constantFrom(...KINDS), fc.nat(7), fc.nat(63)), { maxLength: 40 });

  test('comes to rest placed as it should be; on the way no shard is without need on fewer living nodes; a refused command changes nothing', () => {
    fc.assert(
      fc.property(events, (given) => {
        const cluster = new MetaCluster();
        const twin = new MetaCluster();
        cluster.join('n0');
        twin.join('n0');
        for (const event of given) {
          const before = cluster.dump();
          const shards = cluster.shards();
          let refused = false;
          try {
            happen(cluster, event);
          } catch (error) {
            if (!(error instanceof KeyfleetError)) throw error;
            refused = true;
          }
          if (refused) expect(cluster.dump()).toEqual(before);
          else if (event[0] === 'place') checkOnTheWay(cluster, shards);
          try {
            happen(twin, event);
          } catch {
            expect(refused).toBe(true);
          }
        }
        expect(twin.dump()).toEqual(cluster.dump());
        // Who is neither up nor gone is given up now.
        if (!cluster.nodes.nodes.some(({ status }) => status === 'up')) cluster.join('n0');
        for (const { id, drains } of cluster.nodes.nodes)
          if (drains && cluster.nodes.nodes.every(({ status }) => status !== 'up'))
            cluster.cluster({ kind: 'node-drain', id, drains: false });
        if (!cluster.nodes.nodes.some(({ status }) => status === 'up')) return;
        finishAll(cluster);
        cluster.nowMs += 10 * MINUTES_MS;
        settle(cluster);
        checkAtRest(cluster);
        // The nearest such placement: another node's share is all that is copied when it joins.
        const held = cluster.shards().map(({ id, replicas = [] }) => ({ id, replicas }));
        const joiner: NodeRecord = { ...cluster.nodes.nodes[0]!, id: 'new', status: 'up', zone: 'z0', weight: 1 };
        const up = [...cluster.nodes.nodes.filter(({ status }) => status === 'up'), joiner];
        const planned = placeShards({ nodes: up, shards: held, replication: replicationOf(up, cluster.nodes.replication) });
        const least = held.reduce((sum, { id, replicas }) => sum + planned.get(id)!.filter((node) => !replicas.includes(node)).length, 0);
        cluster.join('new', { zone: 'z0' });
        expect(settle(cluster)).toBe(least);
        checkAtRest(cluster);
      }),
      { numRuns: 150, seed: 11 },
    );
  });
});

function happen(cluster: MetaCluster, [kind, who, what]: Event): void {
  const id = `n${who}`;
  const [keyspace] = cluster.nodes.keyspaces;
  switch (kind) {
    case 'join':
      cluster.join(id, { zone: `z${what % 3}`, weight: 1 + (what % 2) });
      break;
    case 'down':
    case 'up':
      cluster.cluster({ kind: 'node-status', id, status: kind });
      break;
    case 'drain':
    case 'undrain':
      cluster.cluster({ kind: 'node-drain', id, drains: kind === 'drain' });
      break;
    case 'leave':
      cluster.cluster({ kind: 'node-leave', id });
      break;
    case 'weigh':
      cluster.cluster({ kind: 'node-set', id, weight: what % 4 });
      break;
    case 'zone':
      cluster.cluster({ kind: 'node-set', id, zone: `z${what % 3}` });
      break;
    case 'wait':
      cluster.nowMs += what * 10_000;
      break;
    case 'place':
      cluster.cluster({ kind: 'place' });
      break;
    case 'finish':
      finishAll(cluster);
      break;
    case 'register':
      cluster.register(`k${what % 3}`, 1 + (who % 4));
      break;
    case 'replication':
      cluster.cluster({ kind: 'set-replication', replication: what % 5 });
      break;
    default: {
      if (keyspace === undefined) return;
      const { shards } = cluster.map(keyspace);
      const shard = shards[what % shards.length]!;
      if (kind === 'merge') cluster.change(keyspace, { kind, shard: shard.id });
      else if (kind === 'move')
        cluster.change(keyspace, { kind, shard: shard.id, add: id, ...(what % 2 === 0 ? { remove: shard.replicas![0]! } : {}) });
      else {
        const slots = (shard.range.to - shard.range.from) / 2 ** 16;
        cluster.change(keyspace, { kind, shard: shard.id, at: shard.range.from + Math.floor(slots / 2) * 2 ** 16 });
      }
    }
  }
}

function finishAll(cluster: MetaCluster): void {
  finish(cluster);
  for (const name of cluster.nodes.keyspaces) {
    for (const workflow of cluster.map(name).workflows) {
      const { op } = workflow;
      if (workflow.kind === 'split') cluster.change(name, { kind: 'split-done', op });
      if (workflow.kind === 'merge') {
        const left = cluster.map(name).shards.find(({ id }) => id === workflow.left)!;
        if (workflow.gathers) cluster.change(name, { kind: 'gathered', op, nodes: left.replicas! });
        cluster.change(name, { kind: 'merge-done', op, leftSeq: 1 });
      }
      cluster.change(name, { kind: 'retired', op });
    }
    const { shards } = cluster.map(name);
    expect(shards.map(({ range }) => range.from)).toEqual([0, ...shards.slice(0, -1).map(({ range }) => range.to)]);
    expect(shards.at(-1)!.range.to).toBe(END);
  }
}

describe('choosing moves', () => {
  test('does nothing for keyspaces of one machine, or without nodes', () => {
    const maps = [{ shards: [{ id: 1, range: { from: 0, to: END } }], workflows: [] }];
    const nodes: NodeRecord[] = [
      { id: 'n1', release: '1', protocol: { min: 1, max: 1 }, addresses: {}, weight: 1, zone: '', status: 'up', sinceMs: 0, joinedMs: 0 },
    ];
    expect(nextMoves({ maps, nodes, replication: 3, nowMs: 0 })).toEqual([[]]);
    expect(nextMoves({ maps, nodes: [], replication: 3, nowMs: 0 })).toEqual([[]]);
  });

  test('has the same answer until the time that it says, and then another', () => {
    const node = (id: string, more: Partial<NodeRecord>): NodeRecord => ({
      ...{ id, release: '1', protocol: { min: 1, max: 1 }, addresses: {}, weight: 1, zone: '', status: 'up', sinceMs: 0, joinedMs: 0 },
      ...more,
    });
    const half = END / 2;
    const shards = (restUntilMs: number) => [
      { id: 1, range: { from: 0, to: half }, replicas: ['a'], restUntilMs },
      { id: 2, range: { from: half, to: END }, replicas: ['a'], restUntilMs },
    ];
    const resting = { maps: [{ shards: shards(5_000), workflows: [] }], nodes: [node('a', {}), node('b', {})], replication: 1 };
    const down = {
      maps: [{ shards: shards(0), workflows: [] }],
      nodes: [node('a', { status: 'down', sinceMs: 1_000 }), node('b', { status: 'down', sinceMs: 1_000 })],
      replication: 1,
      limits: { replaceDownAfterMs: 4_000 },
    };
    const withAnother = { ...down, nodes: [...down.nodes, node('c', {})] };
    for (const question of [resting, withAnother]) {
      const first = nextMoves({ ...question, nowMs: 2_000 });
      expect(sameMovesUntilMs({ ...question, nowMs: 2_000 })).toBe(5_000);
      expect(nextMoves({ ...question, nowMs: 4_999 })).toEqual(first);
      expect(nextMoves({ ...question, nowMs: 5_000 })).not.toEqual(first);
      expect(sameMovesUntilMs({ ...question, nowMs: 5_000 })).toBe(Number.POSITIVE_INFINITY);
    }
  });
});
