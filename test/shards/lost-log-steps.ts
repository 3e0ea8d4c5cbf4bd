import { toHex } from '../../src/base/bytes.ts';
import type { Hosted } from '../../src/shard/meta/hosting.ts';
import { basisOfLostLog } from '../../src/shard/meta/lost-log.ts';
import type { MappedShard } from '../../src/shard/meta/shard-map.ts';
import type { MetaCluster } from '../shard/meta-cluster.ts';
import type { ConversationLogs } from './conversation-logs.ts';
import type { Node } from './conversation-node.ts';

// The steps of a conversation by which a lost log is found lost, and the next one begins. Each says what it has done; undefined: it is not due.

/** What the leader of the meta shard sees. */
export interface Recovering {
  readonly nodes: readonly Node[];
  readonly meta: MetaCluster;
  readonly logs: ConversationLogs;
  isLive(node: string): boolean;
}

/** It looks for its log where there is none any more. */
export function findLost(node: Node, { shard, generation }: Hosted, isGone: boolean): string | undefined {
  const { lost, led } = node.process;
  const applied = node.stateOf(shard)?.applied;
  if (!applied || lost.get(shard)?.generation === generation || !isGone) return undefined;
  lost.set(shard, { generation });
  return `finds the log of s${shard} gone at entry ${applied}${led.has(shard) ? ', and has led it' : ''}`;
}

/** The meta shard says that the log is lost: it stays where it is, with all of that on its disk, and says so. */
export function stop(node: Node, { shard, generation }: Hosted): string | undefined {
  const { lost, led } = node.process;
  if (lost.get(shard)?.stopped?.generation === generation) return undefined;
  const state = node.stateOf(shard);
  node.storage.commit();
  node.storage.release();
  const isSound = state !== undefined && state.status !== 'faulted';
  const at = isSound ? { at: { generation: state.logGeneration, seq: state.applied, hash: toHex(state.hash) } } : {};
  lost.set(shard, { generation, stopped: { shard, generation, ledByLease: led.has(shard), ...at } });
  return `stops s${shard} for good ${isSound ? `at entry ${state.applied}` : 'without a sound copy'}`;
}

/** What is due for a shard whose log is lost. */
export function recover(name: string, mapped: MappedShard, { nodes, meta, logs, isLive }: Recovering): string | undefined {
  const { id: shard, generation = 1, lost } = mapped;
  const heard = nodes.filter(({ isAway }) => !isAway);
  if (!lost) {
    if (!heard.some(({ process }) => process.lost.get(shard)?.generation === generation)) return undefined;
    meta.change(name, { kind: 'log-lost', shard, generation });
    return 'log-lost to the meta shard';
  }
  const said = new Map(
    heard.flatMap(({ id, process }) => {
      const stopped = process.lost.get(shard)?.stopped;
      return stopped?.generation === generation ? [[id, stopped]] : [];
    }),
  );
  const verdict = basisOfLostLog(mapped, {
    stopped: (node) => said.get(node),
    nodes: [...said.keys()].sort(),
    isLive,
    hasLeft: (id) => meta.nodes.nodes.find((node) => node.id === id)?.status === 'left',
  });
  if (verdict.kind !== 'basis') return undefined;
  const { basis } = verdict;
  const next = { shard, generation: generation + 1 };
  const log = logs.made(next, basis);
  if (log === undefined) {
    logs.make(next, basis);
    return `generation ${next.generation} of the log of s${shard} is made, behind entry ${basis.seq}`;
  }
  meta.change(name, { kind: 'log-begun-anew', shard, generation, log, ...basis });
  return 'log-begun-anew to the meta shard';
}
