import { KeyfleetError } from '../../base/errors.ts';
import { murmur3_x86_128 } from '../hash/murmur3-x86-128.ts';
import type { Hasher } from '../hasher.ts';
import type { Keyspace, KeyspaceOptions, Placement } from '../keyspace.ts';
import { checkNodes, type PartitionNode } from '../node.ts';
import { base64ToCells, cellsToBase64 } from './base64.ts';
import { anyNodes, atMostPerZone, distinctRacksWithinZones, distinctZones, type ReplicaRule, spreadOut } from './replica-rule.ts';
import { checkTable, type SlotTable, tableChecksum } from './slot-table.ts';

/** How a keyspace is written down. Nodes are in the order of the table's numbers; `cells` is base64 of 16-bit numbers, little end first. */
export interface KeyspaceJson {
  readonly format: 'keyfleet-keyspace-1';
  readonly version: number;
  readonly slotCount: number;
  readonly replicaCount: number;
  readonly placement: string;
  readonly rule: string;
  readonly hasher: string;
  readonly nodeHasher: string;
  readonly nodes: readonly PartitionNode[];
  readonly cells: string;
  readonly checksum: number;
}

export function keyspaceToJson<N extends PartitionNode>(keyspace: Keyspace<N>): KeyspaceJson {
  return {
    format: 'keyfleet-keyspace-1',
    version: keyspace.version,
    slotCount: keyspace.slotCount,
    replicaCount: keyspace.replicaCount,
    placement: keyspace.placement.name,
    rule: keyspace.rule.name,
    hasher: keyspace.hasher.name,
    nodeHasher: keyspace.nodeHasher.name,
    nodes: keyspace.nodes,
    cells: cellsToBase64(keyspace.table.cells),
    checksum: tableChecksum(keyspace.table),
  };
}

interface Parsed<N extends PartitionNode> {
  readonly nodes: readonly N[];
  readonly table: SlotTable;
  readonly version: number;
  readonly rule: ReplicaRule<N>;
  readonly placement: 'sticky' | 'fair' | Placement<N>;
  readonly hasher: Hasher;
  readonly nodeHasher: Hasher;
}

export function parseKeyspace<N extends PartitionNode>(
  json: unknown,
  options: Pick<KeyspaceOptions<N>, 'hasher' | 'nodeHasher' | 'rule' | 'placement'>,
): Parsed<N> {
  if (typeof json !== 'object' || json === null) throw invalid('it is not an object');
  const from = json as Partial<Record<keyof KeyspaceJson, unknown>>;
  if (from.format !== 'keyfleet-keyspace-1') throw invalid(`format is ${JSON.stringify(from.format)}, not "keyfleet-keyspace-1"`);
  const version = whole(from.version, 'version');
  const nodes = nodesOf<N>(from.nodes);
  const cells = typeof from.cells === 'string' ? base64ToCells(from.cells) : undefined;
  if (cells === undefined) throw invalid('cells is not base64 of 16-bit numbers');
  const table: SlotTable = {
    slotCount: whole(from.slotCount, 'slotCount'),
    replicaCount: whole(from.replicaCount, 'replicaCount'),
    nodeIds: nodes.map((node) => node.id),
    cells,
  };
  checkTable(table);
  if (tableChecksum(table) !== from.checksum) throw invalid('the checksum does not fit the table');
  return {
    nodes,
    table,
    version,
    rule: named('rule', from.rule, options.rule, ruleNamed(from.rule)),
    placement: placementOf(from.placement, options.placement),
    hasher: named('hasher', from.hasher, options.hasher, murmur3_x86_128),
    nodeHasher: named('nodeHasher', from.nodeHasher, options.nodeHasher, murmur3_x86_128),
  };
}

function nodesOf<N extends PartitionNode>(value: unknown): N[] {
  if (!Array.isArray(value)) throw invalid('nodes is not a list');
  for (const [index, node] of value.entries()) {
    const fields = node as Partial<Record<keyof PartitionNode, unknown>> | null;
    if (typeof fields !== 'object' || fields === null || typeof fields.id !== 'string') throw invalid(`nodes[${index}] has no id`);
    if (fields.weight !== undefined && typeof fields.weight !== 'number') throw invalid(`nodes[${index}].weight is not a number`);
    for (const field of ['zone', 'rack'] as const)
      if (fields[field] !== undefined && typeof fields[field] !== 'string') throw invalid(`nodes[${index}].${field} is not text`);
  }
  const nodes = value as N[];
  checkNodes(nodes);
  return nodes;
}

/** What the options give, if it has the name that was written down; else our own of that name. */
function named<T extends { readonly name: string }>(what: string, name: unknown, given: T | undefined, own: T | undefined): T {
  if (given !== undefined && given.name === name) return given;
  if (own !== undefined && own.name === name) return own;
  throw invalid(`its ${what} is ${JSON.stringify(name)}; give that ${what} in the options`);
}

function ruleNamed(name: unknown): ReplicaRule | undefined {
  const most = /^atMostPerZone\((\d+)\)$/.exec(String(name));
  if (most !== null) return atMostPerZone(Number(most[1]));
  return [spreadOut(), anyNodes(), distinctZones(), distinctRacksWithinZones()].find((rule) => rule.name === name);
}

function placementOf<N extends PartitionNode>(name: unknown, given: KeyspaceOptions<N>['placement']): 'sticky' | 'fair' | Placement<N> {
  if (typeof given === 'object' && given.name === name) return given;
  if (name === 'sticky' || name === 'fair') return name;
  throw invalid(`its placement is ${JSON.stringify(name)}; give that placement in the options`);
}

function whole(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 1) throw invalid(`${what} is not a whole number from 1`);
  return value as number;
}

function invalid(what: string): KeyfleetError {
  return new KeyfleetError('KF_KEYSPACE_INVALID', `not a keyspace: ${what}`);
}
