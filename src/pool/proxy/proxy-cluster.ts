import { createHash } from 'node:crypto';
import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { KeyfleetError } from '../../base/errors.ts';
import { REDIS_SLOT_COUNT, redisSlot } from '../../partition/redis-slot.ts';
import {
  CLUSTER_DISABLED,
  type ClusterMember,
  type ClusterPicture,
  clusterReply,
  readKeysInSlot,
  redirectReply,
} from '../../resp/codec/cluster-words.ts';
import { wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply, type TaggedReply } from '../../shard/redis/reply.ts';
import type { RoutedCommand } from '../command-table.ts';
import { isReservedKey } from '../moves/guard-scripts.ts';
import { showAddress } from '../pool-config.ts';
import type { ReplySink } from '../reply-sink.ts';
import { encodeRequest } from '../request-encoder.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import type { ProxyPool } from './proxy-pool.ts';
import { elementsOf } from './proxy-wire.ts';

// The words of Redis Cluster, spoken by a proxy, so that the cluster clients of ioredis, node-redis and others work with a pool and route themselves:
//
//   redirects: off        not a cluster (the default)
//   redirects: proxies    a cluster whose only nodes are the proxies: one node owns all slots, the proxy that is asked
//   redirects: backends   a cluster of the servers themselves (distribution: slots). Whoever asks the proxy for a key is answered all the same,
//                         unless the client has asked CLUSTER SLOTS or SHARDS: those know the servers, and are told MOVED when they come here

/** 40 hex digits, the same for the same address in all processes. */
function nodeId(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/** What clients are shown: the servers with their slots, or the proxy alone with all. */
function pictureOf(pool: ProxyPool, client: ProxyClient): ClusterPicture {
  const { epoch } = pool.map;
  if (pool.redirects !== 'backends') {
    const separator = client.localAddress.lastIndexOf(':');
    const host = separator > 0 ? client.localAddress.slice(0, separator).replace(/^::ffff:/, '') : pool.host;
    const leader = { id: nodeId(`proxy ${host}:${pool.port}`), host, port: pool.port, isSelf: true, isUp: true };
    return { epoch, members: [leader], runs: [{ first: 0, last: REDIS_SLOT_COUNT - 1, leader, replicas: [] }] };
  }
  const members = pool.map.servers.map(
    ({ address }, server): ClusterMember => ({
      id: nodeId(showAddress(address)),
      host: 'path' in address ? '' : address.host,
      port: 'path' in address ? 0 : address.port,
      isSelf: server === 0,
      isUp: true,
    }),
  );
  const runs: { readonly first: number; last: number; readonly leader: ClusterMember; readonly replicas: readonly ClusterMember[] }[] = [];
  for (let slot = 0; slot < pool.map.slotCount; slot++) {
    const leader = members[pool.map.ownerOf(slot)]!;
    const run = runs.at(-1);
    if (run?.leader === leader) run.last = slot;
    else runs.push({ first: slot, last: slot, leader, replicas: [] });
  }
  return { epoch, members, runs };
}

/** MOVED to the server, in the words of Redis Cluster. */
export function movedReply(pool: ProxyPool, key: Bytes, server: number, word: 'MOVED' | 'ASK' = 'MOVED'): TaggedReply {
  return redirectReply(word, redisSlot(key), showAddress(pool.map.servers[server]!.address));
}

/** How many arguments the subcommands have that only look. */
const LOOKS: Readonly<Record<string, number>> = {
  slots: 2,
  shards: 2,
  nodes: 2,
  info: 2,
  myid: 2,
  links: 2,
  keyslot: 3,
  replicas: 3,
  slaves: 3,
};

export function answerCluster(client: ProxyClient, args: readonly Bytes[], command: RoutedCommand): Reply | undefined {
  const { pool } = client;
  if (args.length < 2) return wrongArityError('cluster');
  const word = fromUtf8(args[1]!).toLowerCase();
  const length = LOOKS[word];
  if (length !== undefined && length !== args.length) return wrongArityError(`cluster|${word}`);
  if (word === 'keyslot') return redisSlot(args[2]!);
  if (pool.redirects === 'off') return CLUSTER_DISABLED;
  if (word === 'slots' || word === 'shards') client.isRouting = true;
  if (length !== undefined) return clusterReply(word, args, pictureOf(pool, client));
  switch (word) {
    case 'myshardid':
      return utf8(nodeId(`shard ${pictureOf(pool, client).members[0]!.id}`));
    case 'countkeysinslot':
    case 'getkeysinslot':
      return keysInSlot(client, args, command, word === 'countkeysinslot');
    case 'reset':
    case 'forget':
    case 'meet':
    case 'failover':
    case 'addslots':
    case 'delslots':
    case 'setslot':
    case 'replicate':
      return errorReply(`ERR 'cluster ${word}' is not served by a pool: its servers change by \`keyfleet pool\``);
    case 'saveconfig':
    case 'bumpepoch':
      return OK;
    default:
      return errorReply(`ERR unknown subcommand '${fromUtf8(args[1]!.subarray(0, 128))}'. Try CLUSTER HELP.`);
  }
}

/** By a look at all keys of all servers, which have no index of slots: for tools, not for every day. */
function keysInSlot(client: ProxyClient, args: readonly Bytes[], command: RoutedCommand, isCount: boolean): Reply | undefined {
  if (args.length !== (isCount ? 3 : 4)) return wrongArityError(`cluster|${isCount ? 'count' : 'get'}keysinslot`);
  const asked = readKeysInSlot(args);
  if ('kind' in asked) return asked;
  const { slot, most } = asked;
  const { pool } = client;
  const servers = pool.liveServers();
  const keys: Bytes[] = [];
  const token = client.open(command, NO_SERVER);
  let missing = servers.length;
  let failure: KeyfleetError | undefined;
  const sink: ReplySink<undefined> = {
    onReply: (_, bytes, start, end) => {
      const { chunk, bounds } = elementsOf(bytes, start, end) ?? { chunk: bytes, bounds: [] };
      for (const [from, to] of bounds) {
        const key = chunk.subarray(chunk.indexOf(10, from) + 1, to - 2);
        if (redisSlot(key) === slot && !isReservedKey(key)) keys.push(key);
      }
      done();
    },
    onFailure: (_, error) => {
      failure ??= error;
      done();
    },
  };
  const done = (): void => {
    if (--missing > 0) return;
    if (failure) client.onFailure(token, failure);
    else client.answer(token, isCount ? keys.length : keys.slice(0, most));
  };
  for (const server of servers) pool.backends(client.version)[server]!.send(encodeRequest(['KEYS', '*']), sink, undefined, client.id);
  return undefined;
}
