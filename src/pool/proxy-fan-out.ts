import { type Bytes, fromUtf8, utf8 } from '../base/bytes.ts';
import { isWord } from '../resp/codec/ascii.ts';
import { wrongArityError } from '../shard/redis/error-replies.ts';
import { errorReply } from '../shard/redis/reply.ts';
import type { BackendError } from './backend-error.ts';
import { NO_SERVER, type ProxyClient } from './proxy-client.ts';
import type { JoinKind, ProxyCommand } from './proxy-commands.ts';
import { forwardToAny } from './proxy-dispatch.ts';
import { Join } from './proxy-join.ts';
import { elementsOf } from './proxy-wire.ts';
import type { ReplySink } from './reply-sink.ts';
import { encodeRequest } from './request-encoder.ts';

// Commands that concern all servers of a pool: DBSIZE, FLUSHALL, KEYS, SCRIPT, FUNCTION; SCAN and RANDOMKEY, which ask one after another.

/** Carries out a command on all servers and joins what they say. */
export function fanOut(client: ProxyClient, command: ProxyCommand): void {
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

function toAll(client: ProxyClient, command: ProxyCommand, how: JoinKind): void {
  const { pool } = client;
  const servers = pool.liveServers();
  const request = client.frame();
  const token = client.open(command, NO_SERVER);
  const join = new Join(client, token, how, servers.length);
  const backends = pool.backends(client.version);
  for (const [part, server] of servers.entries()) {
    pool.stats.server(server).requests++;
    backends[server]!.send(request, join, part, client.id);
  }
}

/** The most servers a cursor can tell apart. */
const SERVERS = 1_024n;

/**
 * SCAN over all servers, one after another: a cursor is the server's own, times 1,024, plus the server's place. Promises what a server's SCAN
 * does, as long as servers keep their places.
 */
export function scan(client: ProxyClient, command: ProxyCommand): void {
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
  const cursor = BigInt(text);
  const servers = pool.liveServers();
  const server = Math.max(Number(cursor % SERVERS), servers[0] ?? 0);
  if (!servers.includes(server)) {
    client.reply(command, errorReply('ERR invalid cursor: its server is not there'));
    return;
  }
  const next = servers[servers.indexOf(server) + 1];
  const args: Bytes[] = [scanner.arg(0), utf8(String(cursor / SERVERS)), ...scanner.args(2)];
  const token = client.open(command, server);
  pool.stats.server(server).requests++;
  pool.backends(client.version)[server]!.send(encodeRequest(args), new ScanSink(client, server, next), token, client.id);
}

class ScanSink implements ReplySink<number> {
  readonly #client: ProxyClient;
  readonly #server: number;
  readonly #next: number | undefined;

  constructor(client: ProxyClient, server: number, next: number | undefined) {
    this.#client = client;
    this.#server = server;
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
    const shown = cursor === 0n ? (this.#next ?? 0) : cursor * SERVERS + BigInt(this.#server);
    const head = `*2\r\n$${String(shown).length}\r\n${shown}\r\n`;
    const reply = Buffer.concat([Buffer.from(head, 'latin1'), parts.chunk.subarray(keysFrom, keysTo)]);
    this.#client.onReply(token, reply, 0, reply.length);
  }

  onFailure(token: number, error: BackendError): void {
    this.#client.onFailure(token, error);
  }
}

/** RANDOMKEY: of a server taken by chance, or of the next ones while those have none. Servers count alike, whatever they hold. */
export function randomKey(client: ProxyClient, command: ProxyCommand): void {
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
          // `$-1` or `_`: this one is empty.
          const isNil = bytes[start] === 95 || (bytes[start] === 36 && bytes[start + 1] === 45);
          if (isNil && turn + 1 < servers.length) ask(turn + 1);
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
