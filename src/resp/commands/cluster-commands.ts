import type { Bytes } from '../../base/bytes.ts';
import type { ScannedKeys } from '../../node/keyspace-handle.ts';
import { wrongArityError } from '../../shard/redis/error-replies.ts';
import { OK, type Reply } from '../../shard/redis/reply.ts';
import { CLUSTER_DISABLED, clusterReply, readKeysInSlot } from '../codec/cluster-words.ts';
import { atOnce, type LocalCall, type LocalCommand } from '../local-command.ts';
import { help } from './reply-text.ts';

// CLUSTER and its subcommands, ASKING, READONLY, READWRITE.

/** Subcommands that look at the picture; those who ask the first three know where to go, and are told MOVED from now on. */
const LOOKS = ['slots', 'shards', 'nodes', 'info', 'myid', 'links', 'keyslot', 'replicas', 'slaves'];
const OF_ROUTERS = ['slots', 'shards', 'nodes'];

export const CLUSTER_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  ['cluster', atOnce(({ spec }) => wrongArityError(spec.name))],
  ...LOOKS.map((word) => [`cluster|${word}`, inCluster((call) => look(call, word))] as const),
  ['cluster|countkeysinslot', inCluster(async (call) => countOf(await keysInSlot(call)))],
  ['cluster|getkeysinslot', inCluster(keysInSlot)],
  ['cluster|help', inCluster(({ door, spec }) => help(door.containerOf(spec)))],
  ['asking', inCluster(() => OK)],
  ['readonly', inCluster(({ conn }) => readsReplicas(conn, true))],
  ['readwrite', inCluster(({ conn }) => readsReplicas(conn, false))],
];

function inCluster(run: (call: LocalCall) => Reply | Promise<Reply>): LocalCommand {
  return atOnce((call) => (call.door.cluster ? run(call) : CLUSTER_DISABLED));
}

function look({ door, conn, args }: LocalCall, word: string): Reply {
  if (OF_ROUTERS.includes(word)) conn.isRouting = true;
  return clusterReply(word, args, door.cluster!.picture())!;
}

function readsReplicas(conn: LocalCall['conn'], reads: boolean): Reply {
  conn.readsReplicas = reads;
  return OK;
}

/** A slot is so many positions. */
const SLOT_POSITIONS = 2 ** 18;

async function keysInSlot({ door, args }: LocalCall): Promise<Reply> {
  const asked = readKeysInSlot(args);
  if ('kind' in asked) return asked;
  const { slot, most } = asked;
  const end = (slot + 1) * SLOT_POSITIONS;
  const found: Bytes[] = [];
  for (let cursor: number | undefined = slot * SLOT_POSITIONS; cursor !== undefined && found.length < most; ) {
    const page: ScannedKeys = await door.keyspace.scanKeys({ cursor, limit: Math.min(1_000, most), end });
    for (const { key } of page.records) found.push(key);
    cursor = page.next;
  }
  return found.slice(0, most);
}

function countOf(reply: Reply): Reply {
  return Array.isArray(reply) ? reply.length : reply;
}
