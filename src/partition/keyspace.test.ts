import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../base/bytes.ts';
import { Keyspace, type KeyspaceChange } from './keyspace.ts';
import type { PartitionNode } from './node.ts';
import { customRule, distinctZones, type ReplicaRule, spreadOut } from './placement/replica-rule.ts';
import { primaryCounts, slotStart, tableChecksum } from './placement/slot-table.ts';
import { redis_slot, redisSlot } from './redis-slot.ts';

interface Server extends PartitionNode {
  readonly id: string;
  readonly weight?: number;
  readonly zone?: string;
  readonly rack?: string;
  readonly address: string;
}

const server = (number: number, more: Partial<Server> = {}): Server => ({ id: `s${number}`, address: `10.0.0.${number}:6379`, ...more });
const servers = (count: number, more: (number: number) => Partial<Server> = () => ({})): Server[] =>
  Array.from({ length: count }, (_, number) => server(number, more(number)));
const keys = Array.from({ length: 2_000 }, (_, number) => `user:${number}`);
const small = { slotCount: 512 } as const;
const coded = (code: string) => expect.objectContaining({ code });

describe('looking up a key', () => {
  test('gives the very node objects, the primary first, and the same for text and its bytes', () => {
    const nodes = servers(7);
    const keyspace = new Keyspace(nodes, small);
    for (const key of keys) {
      const replicas = keyspace.replicas(key);
      expect(replicas).toHaveLength(3);
      expect(new Set(replicas).size).toBe(3);
      for (const node of replicas) expect(nodes).toContain(node);
      expect(keyspace.owner(key)).toBe(replicas[0]);
      expect(keyspace.replicas(utf8(key))).toEqual(replicas);
      expect(keyspace.replicas(key, 2)).toEqual(replicas.slice(0, 2));
      expect(keyspace.replicas(key, 9)).toEqual(replicas);
      expect(keyspace.replicasOfSlot(keyspace.slotOf(key))).toEqual(replicas);
    }
  });

  test('can fill a given array, which keeps its identity', () => {
    const keyspace = new Keyspace(servers(5), { ...small, replicaCount: 2 });
    const out: Server[] = servers(4);
    for (const key of keys.slice(0, 50)) {
      expect(keyspace.replicasInto(key, out)).toBe(out);
      expect(out).toEqual(keyspace.replicas(key));
    }
  });

  test('falls into the slot whose range holds its position, for any number of slots', () => {
    for (const slotCount of [1, 2, 3, 100, 512, 1_000, 8_192]) {
      const keyspace = new Keyspace(servers(3), { slotCount });
      for (const key of keys.slice(0, 200)) {
        const slot = keyspace.slotOf(key);
        expect(slotStart(slot, slotCount)).toBeLessThanOrEqual(keyspace.position(key));
        expect(slotStart(slot + 1, slotCount)).toBeGreaterThan(keyspace.position(key));
      }
    }
  });

  test('with redis_slot and 16,384 slots has the slots of Redis Cluster', () => {
    const keyspace = new Keyspace(servers(3), { slotCount: 16_384, hasher: redis_slot });
    for (const key of ['foo', '{tag}a', '{tag}b', 'user:1000']) expect(keyspace.slotOf(key)).toBe(redisSlot(key));
  });

  test('asks for a slot that is: KF_BAD_SLOT', () => {
    for (const slot of [-1, 512, 0.5]) expect(() => new Keyspace(servers(3), small).replicasOfSlot(slot)).toThrow(coded('KF_BAD_SLOT'));
  });
});

describe('changing the nodes', () => {
  test('any number of changes at once give one version and one plan', () => {
    const keyspace = new Keyspace(servers(6), small);
    const before = keyspace.table;
    const plan = keyspace.apply({ add: [server(20), server(21)], remove: ['s1'], change: [{ id: 's2', weight: 2, address: 'moved:1' }] });
    expect(keyspace.version).toBe(2);
    expect([plan.before, plan.after]).toEqual([1, 2]);
    expect(keyspace.nodes.map((node) => node.id).sort()).toEqual(['s0', 's2', 's20', 's21', 's3', 's4', 's5']);
    expect(keyspace.node('s2')).toEqual(server(2, { weight: 2, address: 'moved:1' }));
    expect(plan.totals.replicasMoved).toBe(plan.totals.minimumMoves);
    expect(JSON.stringify(keyspace.diffFrom(before).totals)).toBe(JSON.stringify(plan.totals));
    expect(plan.nodes.get('s20')?.pulls.length).toBeGreaterThan(0);
    expect(plan.nodes.get('s1')?.drops.every((drop) => drop.leaving)).toBe(true);
  });

  test('one that says nothing new moves nothing and changes no owner, whatever table it starts from', () => {
    const uneven = new Keyspace(servers(6), { ...small, placement: 'fair' }).toJSON();
    const grown = (rule: ReplicaRule<Server>) => {
      const keyspace = new Keyspace(servers(6), { ...small, rule });
      keyspace.add(server(9));
      return keyspace;
    };
    const all = [grown(spreadOut()), grown(customRule('any', () => true)), Keyspace.fromJSON<Server>({ ...uneven, placement: 'sticky' })];
    for (const keyspace of all)
      for (const change of [{}, { add: [], remove: [] }, { change: [{ id: 's1', weight: 1, address: 'moved:1' }] }]) {
        const before = keyspace.table;
        const { totals } = keyspace.apply(change);
        expect([totals.replicasMoved, totals.primariesChanged]).toEqual([0, 0]);
        expect(keyspace.table.cells).toEqual(before.cells);
      }
  });

  test('one that fails leaves no trace', () => {
    const nodes = servers(5, (number) => ({ zone: `z${number % 3}` }));
    const failures: [string, KeyspaceChange<Server>][] = [
      ['KF_UNKNOWN_NODE', { remove: ['nobody'] }],
      ['KF_UNKNOWN_NODE', { add: [server(9)], change: [{ id: 'nobody', weight: 1 }] }],
      ['KF_UNKNOWN_NODE', { remove: ['s1', 's1'] }],
      ['KF_DUPLICATE_NODE', { remove: ['s2'], add: [server(1)] }],
      ['KF_DUPLICATE_NODE', { add: [server(7), server(7)] }],
      ['KF_BAD_WEIGHT', { change: [{ id: 's1', weight: 0 }] }],
      ['KF_BAD_WEIGHT', { add: [server(8, { weight: Number.NaN })] }],
      ['KF_TOO_FEW_NODES', { remove: ['s0', 's1', 's2'] }],
      ['KF_RULE_UNSATISFIABLE', { remove: ['s2'] }],
    ];
    for (const placement of ['sticky', 'fair'] as const) {
      const keyspace = new Keyspace(nodes, { ...small, placement, rule: distinctZones() });
      const trace = () => [JSON.stringify(keyspace), keyspace.table, keyspace.nodes, keyspace.version] as const;
      const before = trace();
      for (const [code, change] of failures) {
        expect(() => keyspace.apply(change), code).toThrow(coded(code));
        expect(() => keyspace.simulate(change), code).toThrow(coded(code));
        const after = trace();
        expect(after[0]).toBe(before[0]);
        for (const i of [1, 2, 3]) expect(after[i]).toBe(before[i]);
      }
    }
  });

  test('simulating one does nothing but report: balance before and after, and where given keys go', () => {
    const keyspace = new Keyspace(servers(6), small);
    const before = JSON.stringify(keyspace);
    const owners = keys.map((key) => keyspace.replicas(key));
    const report = keyspace.simulate({ add: [server(6)] }, keys);
    expect(JSON.stringify(keyspace)).toBe(before);
    expect(keyspace.apply({ add: [server(6)] }).totals).toEqual(report.plan.totals);
    expect(report.after.nodes).toHaveLength(7);
    for (const node of report.after.nodes) expect(Math.abs(node.held - node.share)).toBeLessThan(1);
    const now = keys.map((key) => keyspace.replicas(key));
    expect(report.keys?.keyCount).toBe(keys.length);
    expect(report.keys?.ownersMoved).toBe(now.filter((row, i) => row[0] !== owners[i]![0]).length);
    expect(report.keys?.replicasMoved).toBe(now.flatMap((row, i) => row.filter((node) => !owners[i]!.includes(node))).length);
    expect(report.keys?.nodes.find(({ id }) => id === 's6')?.after).toBe(now.filter((row) => row.some(({ id }) => id === 's6')).length);
  });

  test('fair depends on the nodes alone, sticky on the way as well, and neither on the order of nodes', () => {
    fc.assert(
      fc.property(
        fc.shuffledSubarray(
          servers(9, (number) => ({ weight: 1 + (number % 3), zone: `z${number % 4}` })),
          { minLength: 4 },
        ),
        (list) => {
          const sorted = [...list].sort((a, b) => (a.id < b.id ? -1 : 1));
          for (const placement of ['fair', 'sticky'] as const)
            expect(tableChecksum(new Keyspace(list, { ...small, placement }).table)).toBe(
              tableChecksum(new Keyspace(sorted, { ...small, placement }).table),
            );
          const grown = new Keyspace(list.slice(0, 4), { ...small, placement: 'fair' });
          grown.apply({ add: list.slice(4) });
          expect(tableChecksum(grown.table)).toBe(tableChecksum(new Keyspace(sorted, { ...small, placement: 'fair' }).table));
        },
      ),
      { numRuns: 20 },
    );
  });
});

describe('rules and hashers of one’s own', () => {
  test('a predicate sees the replicas beside the candidate, and every slot obeys it', () => {
    const maker = (node: Server): string => node.address.split('-')[0]!;
    const nodes = Array.from({ length: 12 }, (_, number) => server(number, { address: `maker${number % 4}-${number}` }));
    const rule = customRule<Server>('one per maker', (candidate, chosen) => chosen.every((node) => maker(node) !== maker(candidate)));
    for (const placement of ['sticky', 'fair'] as const) {
      const keyspace = new Keyspace(nodes, { ...small, placement, rule });
      const obeyed = () => {
        for (let slot = 0; slot < small.slotCount; slot++) expect(new Set(keyspace.replicasOfSlot(slot).map(maker)).size).toBe(3);
      };
      obeyed();
      keyspace.apply({ remove: ['s0', 's4'], add: [server(40, { address: 'maker9-1' })] });
      obeyed();
      expect(() =>
        keyspace.apply({
          remove: keyspace.nodes.filter((node) => /maker[29]/.test(node.address) || maker(node) === 'maker3').map((node) => node.id),
        }),
      ).toThrow(coded('KF_RULE_UNSATISFIABLE'));
      obeyed();
    }
  });

  test('another node hasher gives another table, another key hasher other positions', () => {
    const plain = new Keyspace(servers(5), small);
    const seeded = {
      ...redis_slot,
      name: 'mine',
      lanes: (key: string | Uint8Array, seed: number, out: Uint32Array) => redis_slot.lanes(key, seed + 7, out),
    };
    expect(tableChecksum(new Keyspace(servers(5), { ...small, nodeHasher: seeded }).table)).not.toBe(tableChecksum(plain.table));
    expect(new Keyspace(servers(5), { ...small, hasher: redis_slot }).position('a')).toBe(redis_slot.position('a'));
  });

  test('a placement of one’s own is asked, and checked', () => {
    const place = (cells: number[]) => ({
      name: 'mine',
      place: (nodes: readonly Server[]) => ({
        slotCount: 2,
        replicaCount: 2,
        nodeIds: nodes.map(({ id }) => id),
        cells: Uint16Array.from(cells),
      }),
    });
    const options = (cells: number[]) => ({ slotCount: 2, replicaCount: 2, placement: place(cells) });
    expect(new Keyspace(servers(3), options([0, 1, 1, 2])).replicasOfSlot(1).map(({ id }) => id)).toEqual(['s1', 's2']);
    for (const cells of [
      [0, 0, 1, 2],
      [0, 1, 1, 9],
      [0, 1],
    ])
      expect(() => new Keyspace(servers(3), options(cells))).toThrow(coded('KF_TABLE_INVALID'));
  });
});

describe('seeing the keyspace', () => {
  test('intervals cover it without a gap, agree with the look-up, and no two neighbours are alike', () => {
    for (const count of [3, 4, 9]) {
      const keyspace = new Keyspace(servers(count), { slotCount: 100 });
      let at = 0;
      let last = '';
      for (const { from, to, replicas } of keyspace.intervals()) {
        expect(from).toBe(at);
        expect(to).toBeGreaterThan(from);
        at = to;
        const ids = replicas.map((node) => node.id).join();
        expect(ids).not.toBe(last);
        last = ids;
        expect(
          keyspace
            .replicasOfSlot(Math.floor((from * 100) / 2 ** 32))
            .map((node) => node.id)
            .join(),
        ).toBe(ids);
      }
      expect(at).toBe(2 ** 32);
    }
  });

  test('the intervals of a node are what it holds, merged; of its primaries, what it leads', () => {
    const keyspace = new Keyspace(servers(6), small);
    const size = 2 ** 32 / small.slotCount;
    for (const [index, node] of keyspace.nodes.entries()) {
      const held = keyspace.intervalsOf(node.id);
      for (const [i, range] of held.entries()) expect(range.from).toBeGreaterThan(held[i - 1]?.to ?? -1);
      const slots = (ranges: readonly { from: number; to: number }[]) => ranges.reduce((sum, { from, to }) => sum + (to - from) / size, 0);
      expect(slots(held)).toBe(
        Array.from({ length: 512 }, (_, slot) => slot).filter((slot) => keyspace.replicasOfSlot(slot).includes(node)).length,
      );
      expect(slots(keyspace.intervalsOf(node.id, { primary: true }))).toBe(primaryCounts(keyspace.table)[index]);
    }
    expect(() => keyspace.intervalsOf('nobody')).toThrow(coded('KF_UNKNOWN_NODE'));
  });

  test('explains a key: position, slot, replicas, and every node’s rank with a verdict', () => {
    const keyspace = new Keyspace(
      servers(6, (number) => ({ zone: `z${number % 3}` })),
      { ...small, placement: 'fair' },
    );
    for (const key of keys.slice(0, 20)) {
      const why = keyspace.explain(key);
      expect(why.replicas).toEqual(keyspace.replicas(key).map((node) => node.id));
      expect([why.position, why.slot]).toEqual([keyspace.position(key), keyspace.slotOf(key)]);
      expect(why.ranking.map(({ id }) => id).sort()).toEqual(keyspace.nodes.map(({ id }) => id));
      expect(why.ranking.filter(({ holds }) => holds)).toHaveLength(3);
      expect(why.ranking.map(({ score }) => score)).toEqual(why.ranking.map(({ score }) => score).sort((a, b) => a - b));
      expect(why.steps.join('\n')).toContain(`slot ${why.slot} of 512`);
    }
  });
});

describe('a keyspace written down', () => {
  test('comes back the same, also the table that sticky came to, and goes on the same', () => {
    const keyspace = new Keyspace(servers(6), { slotCount: 333 });
    keyspace.apply({ add: [server(9)] });
    keyspace.apply({ remove: ['s3'] });
    const again = Keyspace.fromJSON<Server>(JSON.parse(JSON.stringify(keyspace)));
    expect(JSON.stringify(again)).toBe(JSON.stringify(keyspace));
    for (const key of keys.slice(0, 100)) expect(again.replicas(key)).toEqual(keyspace.replicas(key));
    expect(JSON.stringify(again.add(server(11)))).toBe(JSON.stringify(keyspace.add(server(11))));
  });

  test('with parts of one’s own needs them again', () => {
    const rule = customRule<Server>('mine', () => true);
    const json = JSON.parse(JSON.stringify(new Keyspace(servers(3), { ...small, rule, hasher: redis_slot })));
    expect(() => Keyspace.fromJSON(json)).toThrow(coded('KF_KEYSPACE_INVALID'));
    expect(Keyspace.fromJSON<Server>(json, { rule, hasher: redis_slot }).rule).toBe(rule);
  });

  test('damaged is refused', () => {
    const json = JSON.stringify(new Keyspace(servers(3), { slotCount: 7 }));
    const damage: [string, (value: Record<string, unknown>) => unknown][] = [
      ['KF_KEYSPACE_INVALID', (value) => ({ ...value, format: 'x' })],
      ['KF_KEYSPACE_INVALID', (value) => ({ ...value, version: 0 })],
      ['KF_KEYSPACE_INVALID', (value) => ({ ...value, cells: '?' })],
      ['KF_KEYSPACE_INVALID', (value) => ({ ...value, checksum: 1 })],
      ['KF_KEYSPACE_INVALID', (value) => ({ ...value, nodes: [{ name: 'x' }] })],
      ['KF_KEYSPACE_INVALID', () => null],
      ['KF_TABLE_INVALID', (value) => ({ ...value, slotCount: 8 })],
      ['KF_DUPLICATE_NODE', (value) => ({ ...value, nodes: [server(0), server(0), server(1)] })],
    ];
    for (const [code, change] of damage) expect(() => Keyspace.fromJSON(change(JSON.parse(json))), code).toThrow(coded(code));
  });
});
