import { createHash } from 'node:crypto';
import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { REDIS_SLOT_COUNT, redisSlot } from '../partition/redis-slot.ts';
import { integerOf } from '../resp/codec/ascii.ts';
import { wrongArityError } from '../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply, type TaggedReply } from '../shard/redis/reply.ts';
import { isReservedKey } from './guard-scripts.ts';
import { showAddress } from './pool-config.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import type { ProxyCommand } from './proxy-commands.ts';
import type { ProxyPool } from './proxy-pool.ts';
import { elementsOf } from './proxy-wire.ts';
import type { ReplySink } from './reply-sink.ts';
import { encodeRequest } from './request-encoder.ts';

// The words of Redis Cluster, spoken by a proxy, so that the cluster clients of ioredis, node-redis and others work with a pool and route themselves:
//
//   redirects: off        not a cluster (the default)
//   redirects: proxies    a cluster whose only nodes are the proxies: one node owns all slots, the proxy that is asked
//   redirects: backends   a cluster of the servers themselves (distribution: slots). Whoever asks the proxy for a key is answered all the same,
//                         unless the client has asked CLUSTER SLOTS or SHARDS: those know the servers, and are told MOVED when they come here

const DISABLED = errorReply('ERR This instance has cluster support disabled');

interface Node {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  readonly server: number;
  readonly runs: readonly (readonly [first: number, last: number])[];
}

/** 40 hex digits, the same for the same address in all processes. */
function nodeId(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

/** The nodes that clients are shown, with the slots of each. */
export function clusterNodes(pool: ProxyPool, client?: ProxyClient): readonly Node[] {
  if (pool.redirects !== 'backends') {
    const separator = client?.localAddress.lastIndexOf(':') ?? -1;
    const host = separator > 0 ? client!.localAddress.slice(0, separator).replace(/^::ffff:/, '') : pool.host;
    return [{ id: nodeId(`proxy ${host}:${pool.port}`), host, port: pool.port, server: NO_SERVER, runs: [[0, REDIS_SLOT_COUNT - 1]] }];
  }
  const runs: [number, number][][] = pool.map.servers.map(() => []);
  for (let slot = 0; slot < pool.map.slotCount; slot++) {
    const mine = runs[pool.map.ownerOf(slot)]!;
    const last = mine.at(-1);
    if (last && last[1] === slot - 1) last[1] = slot;
    else mine.push([slot, slot]);
  }
  return pool.map.servers.map(({ address }, server) => ({
    id: nodeId(showAddress(address)),
    host: 'path' in address ? '' : address.host,
    port: 'path' in address ? 0 : address.port,
    server,
    runs: runs[server]!,
  }));
}

/** MOVED to the server, in the words of Redis Cluster. */
export function movedReply(pool: ProxyPool, key: Bytes, server: number, word: 'MOVED' | 'ASK' = 'MOVED'): TaggedReply {
  const { address } = pool.map.servers[server]!;
  return errorReply(`${word} ${redisSlot(key)} ${showAddress(address)}`);
}

export function answerCluster(client: ProxyClient, args: readonly Bytes[], command: ProxyCommand): Reply | undefined {
  const { pool } = client;
  if (args.length < 2) return wrongArityError('cluster');
  const word = fromUtf8(args[1]!).toLowerCase();
  if (word === 'keyslot') return args.length === 3 ? redisSlot(args[2]!) : wrongArityError('cluster|keyslot');
  if (pool.redirects === 'off') return DISABLED;
  switch (word) {
    case 'slots':
      client.isRouting = true;
      return clusterNodes(pool, client).flatMap(({ id, host, port, runs }) =>
        runs.map(([first, last]): Reply => [first, last, [utf8(host), port, utf8(id), []]]),
      );
    case 'shards':
      client.isRouting = true;
      return clusterNodes(pool, client).map(
        (node): Reply => ({
          kind: 'map',
          pairs: [
            [utf8('slots'), node.runs.flat()],
            [utf8('nodes'), [shardNode(node)]],
          ],
        }),
      );
    case 'nodes':
      return { kind: 'verbatim', format: 'txt', text: utf8(nodesText(pool, client)) };
    case 'info':
      return { kind: 'verbatim', format: 'txt', text: utf8(infoText(pool, client)) };
    case 'myid':
      return utf8(clusterNodes(pool, client)[0]!.id);
    case 'myshardid':
      return utf8(nodeId(`shard ${clusterNodes(pool, client)[0]!.id}`));
    case 'links':
      return [];
    case 'replicas':
    case 'slaves':
      return [];
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

function shardNode({ id, host, port }: Node): Reply {
  return {
    kind: 'map',
    pairs: [
      [utf8('id'), utf8(id)],
      [utf8('port'), port],
      [utf8('ip'), utf8(host)],
      [utf8('endpoint'), utf8(host)],
      [utf8('hostname'), utf8('')],
      [utf8('role'), utf8('master')],
      [utf8('replication-offset'), 0],
      [utf8('health'), utf8('online')],
    ],
  };
}

function nodesText(pool: ProxyPool, client: ProxyClient): string {
  return clusterNodes(pool, client)
    .map(({ id, host, port, runs }, i) => {
      const slots = runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(' ');
      return `${id} ${host}:${port}@${port + 10_000} ${i === 0 ? 'myself,' : ''}master - 0 0 ${pool.map.epoch} connected ${slots}\n`;
    })
    .join('');
}

function infoText(pool: ProxyPool, client: ProxyClient): string {
  const count = clusterNodes(pool, client).length;
  const lines = [
    'cluster_enabled:1',
    'cluster_state:ok',
    `cluster_slots_assigned:${REDIS_SLOT_COUNT}`,
    `cluster_slots_ok:${REDIS_SLOT_COUNT}`,
    'cluster_slots_pfail:0',
    'cluster_slots_fail:0',
    `cluster_known_nodes:${count}`,
    `cluster_size:${count}`,
    `cluster_current_epoch:${pool.map.epoch}`,
    `cluster_my_epoch:${pool.map.epoch}`,
  ];
  return lines.map((line) => `${line}\r\n`).join('');
}

/** By a look at all keys of all servers, which have no index of slots: for tools, not for every day. */
function keysInSlot(client: ProxyClient, args: readonly Bytes[], command: ProxyCommand, isCount: boolean): Reply | undefined {
  const slot = args[2] ? integerOf(args[2]) : undefined;
  const most = isCount ? Number.POSITIVE_INFINITY : args[3] ? integerOf(args[3]) : undefined;
  if (args.length !== (isCount ? 3 : 4)) return wrongArityError(`cluster|${isCount ? 'count' : 'get'}keysinslot`);
  if (slot === undefined || slot < 0 || slot >= REDIS_SLOT_COUNT) return errorReply('ERR Invalid slot');
  if (most === undefined || most < 0) return errorReply('ERR Invalid number of keys');
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
