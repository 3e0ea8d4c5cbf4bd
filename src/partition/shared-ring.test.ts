import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from '../../test/house/tree.ts';
import { toHex, utf8 } from '../base/bytes.ts';
import { Prng } from '../base/prng.ts';
import { murmur3_x86_128 } from './hash/murmur3-x86-128.ts';
import { HashRing } from './hash-ring.ts';
import type { Hasher } from './hasher.ts';
import type { PartitionNode } from './node.ts';
import { SharedRing } from './shared-ring.ts';

const node = (number: number): PartitionNode => ({ id: `n${number}` });
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const keys = range(64).map((i) => `key-${i}`);
const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'nothing thrown';
};

describe('a reader of a shared ring', () => {
  test('answers everything as the writer does, and as a ring of its own would', () => {
    const options = { virtualNodes: 20, replicationFactor: 2 };
    const nodes = [{ id: 'a', weight: 2 }, { id: 'b', zone: 'z', address: { host: 'h', port: 1 } }, { id: 'c' }];
    const writer = new SharedRing<PartitionNode>(nodes, options);
    const reader = SharedRing.open(writer.share());
    const alone = new HashRing<PartitionNode>(nodes, options);
    expect(reader.nodes).toEqual(nodes);
    for (const ring of [writer, reader]) {
      expect([ring.nodeCount, ring.virtualNodeCount, ring.has('b'), ring.has('d')]).toEqual([3, 80, true, false]);
      expect([...ring]).toEqual([...alone]);
      expect([...ring.reversed()]).toEqual([...alone.reversed()]);
      for (const key of keys) {
        expect(ring.owner(key)).toEqual(alone.owner(key));
        expect(ring.replicas(utf8(key), 3)).toEqual(alone.replicas(key, 3));
        expect(ring.nodesForKey(key)).toEqual(alone.nodesForKey(key));
        expect(ring.virtualNodeForKey(key)).toEqual(alone.virtualNodeForKey(key));
        expect(ring.predecessor(key)).toEqual(alone.predecessor(key));
        expect(ring.successor(key)).toEqual(alone.successor(key));
        expect(ring.predecessorNode(key)).toEqual(alone.predecessorNode(key));
        expect(ring.successorNode(key)).toEqual(alone.successorNode(key));
        const { digest } = alone.virtualNodeForKey(key);
        expect([ring.hasVirtualNode(digest), ring.hasVirtualNode(utf8(key))]).toEqual([true, false]);
        expect(ring.virtualNodeAt(digest)).toEqual(alone.virtualNodeAt(digest));
      }
    }
  });

  test('sees each new version on its next look-up, and says which one it answered from', () => {
    const writer = new SharedRing<PartitionNode>([node(0)], { virtualNodes: 8 });
    const readers = range(3).map(() => SharedRing.open(writer.share()));
    for (const number of range(50).slice(1)) {
      if (number % 3 === 0) writer.remove([`n${number - 1}`]);
      else writer.insert([node(number)]);
      writer.insert([]);
      for (const reader of readers) {
        expect([reader.version, reader.latestVersion]).toEqual([number === 1 ? 0 : number, number + 1]);
        expect(reader.replicas('k', 99).map(({ id }) => id)).toEqual(writer.replicas('k', 99).map(({ id }) => id));
        expect(reader.version).toBe(number + 1);
      }
    }
  });

  test('keeps the objects of nodes that stay, and drops those of nodes that went', () => {
    const writer = new SharedRing<PartitionNode>([node(0), node(1)], { virtualNodes: 8 });
    const reader = SharedRing.open(writer.share());
    const [first] = reader.nodes;
    writer.insert([node(2)]);
    expect(reader.nodes[0]).toBe(first);
    writer.remove(['n0']);
    writer.insert([{ id: 'n0', weight: 3 }]);
    expect(reader.nodes[0]).toEqual({ id: 'n0', weight: 3 });
  });

  test('gives codes for what it is asked wrongly, and goes on', () => {
    const writer = new SharedRing<PartitionNode>([]);
    const reader = SharedRing.open(writer.share());
    expect(codeOf(() => reader.owner('k'))).toBe('KF_NO_NODES');
    expect(codeOf(() => reader.replicas('k'))).toBe('KF_NO_NODES');
    expect(codeOf(() => reader.successor('k'))).toBe('KF_NO_NODES');
    writer.add(node(1));
    expect(codeOf(() => reader.owner(5 as unknown as string))).toBe('KF_BAD_KEY');
    expect(codeOf(() => reader.successorNode('k'))).toBe('KF_RING_SINGLE_NODE');
    expect(reader.owner('k').id).toBe('n1');
    reader.close();
    expect(reader.owner('k').id).toBe('n1');
  });

  test('takes turns with others when there are fewer slots than readers', () => {
    const writer = new SharedRing<PartitionNode>(range(5).map(node), { virtualNodes: 8, readerSlots: 2 });
    const readers = range(7).map(() => SharedRing.open(writer.share()));
    for (const key of keys) for (const reader of readers) expect(reader.owner(key).id).toBe(writer.owner(key).id);
  });
});

describe('a shared ring', () => {
  test('that cannot change is as it was, for readers too', () => {
    const writer = new SharedRing<PartitionNode>(range(4).map(node), { virtualNodes: 100, maxBytes: 64 * 1024 });
    const reader = SharedRing.open(writer.share());
    const owners = keys.map((key) => reader.owner(key).id);
    const refused: [string, () => unknown][] = [
      ['KF_DUPLICATE_NODE', () => writer.insert([node(9), node(0)])],
      ['KF_UNKNOWN_NODE', () => writer.remove(['n0', 'n9'])],
      ['KF_RING_MEMORY_FULL', () => writer.insert(range(40).map((i) => node(100 + i)))],
    ];
    for (const [code, act] of refused) {
      expect(codeOf(act)).toBe(code);
      expect([writer.version, writer.nodeCount]).toEqual([1, 4]);
      expect(keys.map((key) => reader.owner(key).id)).toEqual(owners);
      expect(reader.version).toBe(1);
    }
    writer.insert([{ id: 'n100', weight: 0.5 }]);
    expect(reader.nodes.find(({ id }) => id === 'n100')).toEqual({ id: 'n100', weight: 0.5 });
  });

  test('uses bounded memory however often it changes and whatever its readers do', () => {
    const writer = new SharedRing<PartitionNode>(range(10).map(node), { virtualNodes: 50 });
    const sleeper = SharedRing.open(writer.share());
    sleeper.owner('k');
    writer.insert([node(50), node(51)]);
    writer.remove(['n50', 'n51']);
    const tableBytes = writer.snapshot().table.bytes().length;
    const random = new Prng(1);
    for (const _ of range(300)) {
      const id = `n${random.below(12)}`;
      if (writer.has(id)) writer.remove([id]);
      else writer.insert([{ id }]);
    }
    expect(writer.sharedBytes).toBeLessThan(4 * tableBytes + 16_384);
    expect(sleeper.owner('k').id).toBe(writer.owner('k').id);
  });

  test('is opened only with its own hasher, and only if it is one', () => {
    const other: Hasher = { ...murmur3_x86_128, digest: (key, seed) => murmur3_x86_128.digest(key, seed).reverse() };
    const handle = new SharedRing([node(1)]).share();
    expect(codeOf(() => SharedRing.open(handle, { hasher: { ...murmur3_x86_128, name: 'other' } }))).toBe('KF_BAD_HASHER');
    expect(codeOf(() => SharedRing.open(handle, { hasher: other }))).toBe('KF_BAD_HASHER');
    expect(codeOf(() => SharedRing.open({ ...handle, kind: 'x' } as unknown as typeof handle))).toBe('KF_BAD_RING');
    expect(codeOf(() => SharedRing.open({ ...handle, buffer: new SharedArrayBuffer(1024) }))).toBe('KF_BAD_RING');
    expect(codeOf(() => new SharedRing([], { readerSlots: 0 }))).toBe('KF_BAD_RING');
    expect(codeOf(() => new SharedRing([], { maxBytes: 100 }))).toBe('KF_BAD_RING');
    expect(toHex(SharedRing.open(structuredClone(handle)).virtualNodeForKey('k').digest)).toMatch(/^[0-9a-f]{32}$/);
  });
});

/** Seconds of stress for each case, and what chance decides the changes: `npm run soak:ring` gives others. */
const STRESS_SECONDS = Number(process.env['KEYFLEET_RING_SECONDS'] ?? 1);
const STRESS_SEED = Number(process.env['KEYFLEET_RING_SEED'] ?? 7);

describe('threads that read while one writes', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'keyfleet-ring-'));
  const script = join(scratch, 'ring-reader.mjs');
  beforeAll(async () => {
    await build({
      entryPoints: [join(root, 'test/threads/ring-reader.ts')],
      outfile: script,
      bundle: true,
      platform: 'node',
      format: 'esm',
    });
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  test.each([
    { readers: 3, readerSlots: 128, kill: false, says: 'a slot each' },
    { readers: 3, readerSlots: 1, kill: false, says: 'one slot among them' },
    { readers: 3, readerSlots: 4, kill: true, says: 'threads killed in the middle of look-ups' },
  ])(
    'get whole answers of a published version only: $readers readers, $says',
    async ({ readers, readerSlots, kill }) => {
      const story = tellStory(2_500);
      const options = { virtualNodes: 40, readerSlots };
      const expected = new Uint32Array(new SharedArrayBuffer(4 * (story.length + 1) * keys.length));
      const rehearsal = new HashRing<PartitionNode>([], options);
      for (const [i, change] of story.entries()) {
        act(rehearsal, change);
        for (const [k, key] of keys.entries()) expected[(i + 1) * keys.length + k] = packed(rehearsal.replicas(key, 3));
      }

      const board = new Int32Array(new SharedArrayBuffer(4 * BOARD.words));
      const endMs = Date.now() + STRESS_SECONDS * 1000;
      let changes = 0;
      let mostBytes = 0;
      do {
        const ring = new SharedRing<PartitionNode>(story[0]!.insert.map(node), options);
        let fault: Error | undefined;
        const start = (): Worker =>
          new Worker(script, { workerData: { handle: ring.share(), expected, keys, board } }).once('error', (error: Error) => {
            fault = error;
          });
        const until = async (isSo: () => boolean): Promise<void> => {
          for (let ms = 0; !isSo(); ms++) {
            if (fault !== undefined || ms > 30_000) throw fault ?? new Error('the threads did not get that far within 30 s');
            await breathe();
          }
        };
        board.fill(0, BOARD.stop, BOARD.ready + 1);
        const workers = range(readers).map(start);
        const killed: Promise<unknown>[] = [];
        await until(() => Atomics.load(board, BOARD.ready) >= readers);
        for (const [i, change] of story.entries()) {
          if (i > 0) act(ring, change);
          expect(ring.version).toBe(i + 1);
          if (i % 100 === 0) await breathe();
          if (kill && i % 600 === 599) {
            killed.push(workers.shift()!.terminate());
            workers.push(start());
          }
        }
        changes += story.length;
        mostBytes = Math.max(mostBytes, ring.sharedBytes);
        await until(() => Atomics.load(board, BOARD.pickups) > 0);
        Atomics.store(board, BOARD.stop, 1);
        await Promise.all([...killed, ...workers.map(ended)]);
        expect(fault).toBeUndefined();
      } while (Date.now() < endMs);

      const lookups = board[BOARD.lookups]! >>> 0;
      console.log(
        `${readers} readers (${readerSlots} slots): ${lookups} look-ups during ${changes} changes, ${board[BOARD.pickups]} new versions seen, ${mostBytes} bytes`,
      );
      expect([board[BOARD.faults], board[BOARD.faultyVersion]]).toEqual([0, 0]);
      expect(lookups).toBeGreaterThan(10_000);
      expect(board[BOARD.pickups]).toBeGreaterThan(readers);
    },
    (STRESS_SECONDS + 60) * 1000,
  );
});

const BOARD = { stop: 0, ready: 1, lookups: 2, pickups: 3, faults: 4, faultyVersion: 5, words: 6 } as const;

function packed(nodes: readonly PartitionNode[]): number {
  return nodes.reduce((all, { id }) => all * 1000 + Number(id.slice(1)) + 1, 0);
}

interface Change {
  readonly insert: readonly number[];
  readonly remove: readonly number[];
}

/** Changes of 3 … 30 nodes, batches among them; always at least three nodes, so that three holders are there. */
function tellStory(length: number): Change[] {
  const random = new Prng(STRESS_SEED);
  const present = new Set(range(6));
  const story: Change[] = [{ insert: [...present], remove: [] }];
  while (story.length < length) {
    const batch = [...new Set(range(1 + random.below(4)).map(() => random.below(30)))];
    const gone = batch.filter((number) => present.has(number));
    const isRemoval = gone.length > 0 && present.size - gone.length >= 3 && random.below(2) === 0;
    const chosen = isRemoval ? gone : batch.filter((number) => !present.has(number));
    if (chosen.length === 0) continue;
    for (const number of chosen) isRemoval ? present.delete(number) : present.add(number);
    story.push(isRemoval ? { insert: [], remove: chosen } : { insert: chosen, remove: [] });
  }
  return story;
}

function act(ring: HashRing<PartitionNode> | SharedRing<PartitionNode>, { insert, remove }: Change): void {
  if (insert.length > 0) ring.insert(insert.map(node));
  else ring.remove(remove.map((number) => `n${number}`));
}

const breathe = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));
const ended = (worker: Worker): Promise<void> => new Promise((resolve) => worker.once('exit', () => resolve()));
