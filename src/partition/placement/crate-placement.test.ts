import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Keyspace } from '../keyspace.ts';
import { keyspaceCrateHasher, keyspaceCratePlacement } from './crate-placement.ts';

interface Case {
  readonly n: number;
  readonly capacities: readonly number[];
  readonly rf: number;
  readonly key_replicas: readonly (readonly number[])[];
}

test('a Keyspace with the crate’s placement and hasher has the replicas of the Rust crate for every key of its vectors', () => {
  const { cases } = JSON.parse(readFileSync(new URL('../../../test/vectors/keyspace_rust.json', import.meta.url), 'utf8')) as {
    cases: Case[];
  };
  for (const one of cases.filter(({ n }) => n <= 10)) {
    const nodes = one.capacities.map((weight, number) => ({ id: `node${number}`, number, weight }));
    const keyspace = new Keyspace(nodes, { replicaCount: one.rf, placement: keyspaceCratePlacement, hasher: keyspaceCrateHasher });
    const found = one.key_replicas.map((_, key) => keyspace.replicas(`key${key}`).map((node) => node.number));
    expect(found).toEqual(one.key_replicas);
  }
});

test('it is refused with another number of slots: KF_TABLE_INVALID', () => {
  expect(() => new Keyspace([{ id: 'a' }], { slotCount: 8, replicaCount: 1, placement: keyspaceCratePlacement })).toThrow(
    expect.objectContaining({ code: 'KF_TABLE_INVALID' }),
  );
});
