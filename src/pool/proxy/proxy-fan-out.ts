import { type Bytes, fromUtf8, utf8 } from '../../base/bytes.ts';
import type { KeyfleetError } from '../../base/errors.ts';
import { isWord } from '../../resp/codec/ascii.ts';
import { wrongArityError } from '../../shard/redis/error-replies.ts';
import { errorReply } from '../../shard/redis/reply.ts';
import type { JoinKind, RoutedCommand } from '../command-table.ts';
import { returningId } from '../guarded-commands.ts';
import { latin1Slice } from '../latin1.ts';
import { busyKey, FENCE_KEY, isReservedKey, openKey, RESERVED_PREFIX } from '../moves/guard-scripts.ts';
import type { PoolMap } from '../pool-map.ts';
import type { ReplySink } from '../reply-sink.ts';
import { encodeRequest } from '../request-encoder.ts';
import { scanOrder } from '../scan-servers.ts';
import { isNilReply } from '../waiting-commands.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import { forwardToAny } from './proxy-dispatch.ts';
import { Join } from './proxy-join.ts';
import { elementsOf, stringOf } from './proxy-wire.ts';

// Commands that concern all servers of a pool: DBSIZE, FLUSHALL, KEYS, SCRIPT, FUNCTION; SCAN and RANDOMKEY, which ask one after another.

/** Carries out a command on all servers and joins what they say. */
export function fanOut(client: ProxyClient, command: RoutedCommand): void {
  const how = command.name === 'script' || command.name === 'function' ? joinOfScripts(client) : command.join!;
  if (how === 'any') forwardToAny(client, command);
  else toAll(client, command, how);
}

/** SCRIPT and FUNCTION change all servers alike; what they tell is what any of them says. */
function joinOfScripts(client: ProxyClient): JoinKind | 'any' {
  const { scanner } = client;
  if (scanner.argCount < 2) return 'any';
  const word = scanner.arg(1);
  if (isWord(word, 'exists')) return 'every';
  const isTold = ['list', 'dump', 'stats', 'help', 'debug'].some((one) => isWord(word, one));
  return isTold ? 'any' : 'first';
}

function toAll(client: ProxyClient, command: RoutedCommand, how: JoinKind): void {
  const { pool } = client;
  const servers = scanOrder(pool.map, pool.liveServers());
  const request = client.frame();
  const token = client.open(command, NO_SERVER);
  const marks = command.name === 'dbsize' ? marksOf(pool.map) : [];
  const join = new Join(client, token, how, servers.length + marks.length);
  const backends = pool.backends(client.version);
  const isOneByOne = command.name === 'keys' && pool.map.hasMoves;
  const sink: ReplySink<number> = command.name === 'keys' ? new KeysFilter(join, isOneByOne) : join;
  const ask = (part: number, hears: ReplySink<number>): void => {
    pool.stats.server(servers[part]!).requests++;
    backends[servers[part]!]!.send(request, hears, part, client.id);
  };
  // Keys on their way are looked for where they leave before where they come to: there or here each is seen.
  const chain: ReplySink<number> = {
    onReply: (part, bytes, start, end) => {
      sink.onReply(part, bytes, start, end);
      next(part + 1);
    },
    onFailure: (part, error) => {
      sink.onFailure(part, error);
      next(part + 1);
    },
  };
  const next = (part: number): void => {
    if (part < servers.length) ask(part, chain);
  };
  if (isOneByOne) next(0);
  else for (let part = 0; part < servers.length; part++) ask(part, sink);
  for (const [turn, { server, keys }] of marks.entries())
    backends[server]!.send(encodeRequest(['EXISTS', ...keys]), new Negative(join), servers.length + turn, client.id);
}

/** What a move keeps on its two servers, which is nobody's key. */
function marksOf({ moves }: PoolMap): { readonly server: number; readonly keys: readonly string[] }[] {
  return moves.flatMap(({ id, from, to, mode }) => {
    const move = mode === 'returning' ? returningId(id) : id;
    return [from, to].map((server) => ({ server, keys: [FENCE_KEY, busyKey(move), openKey(move)] }));
  });
}

/** Takes a number off a sum instead of adding it. */
class Negative implements ReplySink<number> {
  readonly #join: Join;

  constructor(join: Join) {
    this.#join = join;
  }

  onReply(part: number, bytes: Bytes, start: number, end: number): void {
    const isMore = bytes[start] === COLON && bytes[start + 1] !== ZERO;
    const negative = isMore ? utf8(`:-${fromUtf8(bytes.subarray(start + 1, end))}`) : bytes.subarray(start, end);
    this.#join.onReply(part, negative, 0, negative.length);
  }

  onFailure(part: number, error: KeyfleetError): void {
    this.#join.onFailure(part, error);
  }
}

/** The most servers a cursor can tell apart. */
const SERVERS = 1_024n;
/** Epochs of maps, as far as cursors tell them apart. */
const EPOCHS = 65_535n;

/**
 * SCAN over all servers, one after another: a cursor is the server's own, times 65,536 for the epoch of the map, times 1,024 for the server's place. Promises what
 * a server's SCAN does: when the map has changed, or keys are on the move, all servers are gone over again, so some keys come twice.
 */
export function scan(client: ProxyClient, command: RoutedCommand): void {
  const { scanner, pool } = client;
  if (scanner.argCount < 2) {
    client.reply(command, wrongArityError('scan'));
    return;
  }
  const text = fromUtf8(scanner.arg(1));
  if (!/^\d{1,25}$/.test(text)) {
    client.reply(command, errorReply('ERR invalid cursor'));
    return;
  }
  const epoch = (BigInt(pool.map.epoch) % EPOCHS) + 1n;
  const servers = scanOrder(pool.map, pool.liveServers());
  let cursor = BigInt(text);
  const isStale = cursor !== 0n && (cursor / SERVERS) % (EPOCHS + 1n) !== epoch;
  if (isStale && !pool.canMove) {
    client.reply(command, errorReply('ERR invalid cursor'));
    return;
  }
  if (isStale) cursor = 0n;
  const server = cursor === 0n ? servers[0]! : Number(cursor % SERVERS);
  const place = servers.indexOf(server);
  if (place < 0) {
    client.reply(command, errorReply('ERR invalid cursor: its server is not there'));
    return;
  }
  const next = place + 1 < servers.length ? epoch * SERVERS + BigInt(servers[place + 1]!) : 0n;
  const own = cursor / SERVERS / (EPOCHS + 1n);
  const args: Bytes[] = [scanner.arg(0), utf8(String(own)), ...scanner.args(2)];
  const token = client.open(command, server);
  pool.stats.server(server).requests++;
  const sink = new ScanSink(client, epoch * SERVERS + BigInt(server), next);
  pool.backends(client.version)[server]!.send(encodeRequest(args), sink, token, client.id);
}

class ScanSink implements ReplySink<number> {
  readonly #client: ProxyClient;
  readonly #here: bigint;
  readonly #next: bigint;

  constructor(client: ProxyClient, here: bigint, next: bigint) {
    this.#client = client;
    this.#here = here;
    this.#next = next;
  }

  onReply(token: number, bytes: Bytes, start: number, end: number): void {
    const parts = elementsOf(bytes, start, end);
    if (parts === undefined || parts.bounds.length !== 2) {
      this.#client.onReply(token, bytes, start, end);
      return;
    }
    const [[from, to], [keysFrom, keysTo]] = parts.bounds as [readonly [number, number], readonly [number, number]];
    const cursor = BigInt(fromUtf8(parts.chunk.subarray(parts.chunk.indexOf(10, from) + 1, to - 2)));
    const shown = cursor === 0n ? this.#next : cursor * SERVERS * (EPOCHS + 1n) + this.#here;
    const head = `*2\r\n$${String(shown).length}\r\n${shown}\r\n`;
    const reply = Buffer.concat([Buffer.from(head, 'latin1'), withoutReserved(parts.chunk, keysFrom, keysTo)]);
    this.#client.onReply(token, reply, 0, reply.length);
  }

  onFailure(token: number, error: KeyfleetError): void {
    this.#client.onFailure(token, error);
  }
}

/** A list of keys without those that movers keep, and, when `seen` is given, without those that it has, to which it adds the others. */
function withoutReserved(bytes: Bytes, start: number, end: number, seen?: Set<string>): Bytes {
  if (seen === undefined && !latin1Slice(bytes, start, end).includes(RESERVED_PREFIX)) return bytes.subarray(start, end);
  const list = elementsOf(bytes, start, end);
  if (list === undefined) return bytes.subarray(start, end);
  const kept = list.bounds.flatMap(([from, to]) => {
    const element = list.chunk.subarray(from, to);
    const key = stringOf(element);
    if (isReservedKey(key) || seen?.has(latin1Slice(key))) return [];
    seen?.add(latin1Slice(key));
    return [element];
  });
  return Buffer.concat([utf8(`*${kept.length}\r\n`), ...kept]);
}

/** Leaves keys of ours out of what servers list, and, while keys are on their way, those that two of them name. */
class KeysFilter implements ReplySink<number> {
  readonly #join: Join;
  readonly #seen: Set<string> | undefined;

  constructor(join: Join, dropsDuplicates: boolean) {
    this.#join = join;
    this.#seen = dropsDuplicates ? new Set() : undefined;
  }

  onReply(part: number, bytes: Bytes, start: number, end: number): void {
    const keys = withoutReserved(bytes, start, end, this.#seen);
    this.#join.onReply(part, keys, 0, keys.length);
  }

  onFailure(part: number, error: KeyfleetError): void {
    this.#join.onFailure(part, error);
  }
}

/** So often every server is asked for a key by chance that is not one of a mover's. */
const RANDOM_TURNS = 4;

/** RANDOMKEY: of a server taken by chance, or of the next ones while those have none. Servers count alike, whatever they hold. */
export function randomKey(client: ProxyClient, command: RoutedCommand): void {
  const { pool } = client;
  const servers = pool.liveServers();
  const first = Math.floor(Math.random() * servers.length);
  const token = client.open(command, NO_SERVER);
  const request = client.frame();
  const { version } = client;
  const ask = (turn: number): void => {
    const server = servers[(first + turn) % servers.length]!;
    pool.backends(version)[server]!.send(
      request,
      {
        onReply: (_, bytes, start, end) => {
          const isNone = isNilReply(bytes, start) || isReservedKey(stringOf(bytes.subarray(start, end)));
          if (isNone && turn + 1 < RANDOM_TURNS * servers.length) ask(turn + 1);
          else if (isNone) client.answer(token, null);
          else client.onReply(token, bytes, start, end);
        },
        onFailure: (_, error) => client.onFailure(token, error),
      },
      undefined,
      client.id,
    );
  };
  ask(0);
}

const COLON = 58;
const ZERO = 48;
