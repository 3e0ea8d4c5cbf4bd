import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import type { StoppedReplica } from '../../src/shard/meta/lost-log.ts';
import { plainBytes } from '../../src/shard/plain-bytes.ts';
import type { SnapshotReader, SnapshotWriter } from '../../src/shard/replica/snapshot.ts';
import { ShardMachine } from '../../src/shard/shard-machine.ts';
import { decodeShardState, type ShardState } from '../../src/shard/shard-state.ts';
import { MemoryStorage } from '../../src/storage/memory.ts';

// A node of a conversation: what its disk has, and what its process has begun.

export type Machine = ReturnType<typeof openMachine>;

export function openMachine(storage: MemoryStorage, state: ShardState, keyspaceId: number) {
  return new ShardMachine({
    storage,
    module: plainBytes,
    positionOf: murmur3Position,
    state,
    maxValueBytes: 1 << 20,
    keyspaceId,
    slotShift: 16,
  });
}

/** What a node has begun and dies with it. */
export interface Process {
  readonly machines: Map<number, Machine>;
  /** The shards that it has led. */
  readonly led: Set<number>;
  /** By shard: that its log is gone, and, once it has stopped for good, where. */
  readonly lost: Map<number, { readonly generation: number; readonly stopped?: StoppedReplica }>;
  readonly bringing: Map<number, { readonly giver: Process; readonly reader: SnapshotReader; readonly writer: SnapshotWriter }>;
}

const newProcess = (): Process => ({ machines: new Map(), led: new Set(), lost: new Map(), bringing: new Map() });

export class Node {
  readonly id: string;
  storage = new MemoryStorage({ holdDurability: true });
  process = newProcess();
  /** It hears nothing and does nothing. */
  isAway = false;

  constructor(id: string) {
    this.id = id;
  }

  /** The last step is durable, or it is lost. */
  die(withLastStep: boolean): void {
    if (withLastStep) this.storage.release();
    this.storage = this.storage.crash({ holdDurability: true });
    this.process = newProcess();
  }

  stateOf(shard: number): ShardState | undefined {
    const stored = this.storage.get(stateKey(shard));
    return stored && decodeShardState(stored);
  }
}
