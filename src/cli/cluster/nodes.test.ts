import { describe, expect, test } from 'vitest';
import type { ClusterReport, NodeReport } from '../../http/cluster-admin.ts';
import { nodesText } from './nodes.ts';

const node = (id: string, max: number, change: Partial<NodeReport> = {}): NodeReport => ({
  ...{ id, status: 'up', zone: '', weight: 1, release: `0.${max}.0`, protocol: { min: 1, max }, addresses: {}, sinceMs: 0 },
  ...{ leads: 0, replicas: 0, isSelf: id === 'a' },
  ...change,
});
const shown = (nodes: readonly NodeReport[], protocol?: number): string => {
  const report: ClusterReport = {
    ...{ cluster: 'shop', node: 'a', metaLeader: 'a', metaLost: null, replication: 1, unready: null, keyspaces: [], risks: [], nodes },
    ...(protocol === undefined ? {} : { protocol }),
  };
  return nodesText(report, 0);
};

describe('the nodes of a cluster as people read them', () => {
  test('with the release and the protocols of each', () => {
    expect(shown([node('a', 2), node('b', 2, { protocol: { min: 2, max: 2 } })], 2)).toMatch(/a \*.* 0\.2\.0 +1-2\n.*b.* 0\.2\.0 +2$/);
  });

  test('with a word when some know a later protocol than others, who are named', () => {
    const text = shown([node('a', 2), node('b', 1), node('c', 1, { status: 'left' })], 1);
    expect(text).toContain('! nodes of several releases: protocol 1 is spoken, and 2 once b can too');
    expect(shown([node('a', 2), node('c', 1, { status: 'left' })], 2)).not.toContain('several releases');
  });

  test('as drained when one that gives all away has nothing any more', () => {
    expect(shown([node('a', 2), node('b', 2, { status: 'draining', replicas: 1 })])).toMatch(/b +draining 0 ms/);
    expect(shown([node('a', 2), node('b', 2, { status: 'draining' })])).toMatch(/b +drained +1 /);
  });

  test('without protocols when the node that is asked does not say them', () => {
    const { protocol: _, ...silent } = node('a', 2);
    expect(shown([silent])).toMatch(/0\.2\.0$/);
  });
});
