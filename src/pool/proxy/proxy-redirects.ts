import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { readReply } from '../../resp/codec/reply-parser.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import type { BackendError } from '../backend-error.ts';
import type { RoutedCommand } from '../command-table.ts';
import { splitCommand } from '../joined-answers.ts';
import { type PoolServer, parseAddress, type ServerAddress, showAddress } from '../pool-config.ts';
import type { EncodedRequest, ReplySink } from '../reply-sink.ts';
import { encodeRequest } from '../request-encoder.ts';
import type { ProxyClient } from './proxy-client.ts';
import { sendParts } from './proxy-dispatch.ts';
import type { ProxyPool, SpecialRoutes } from './proxy-pool.ts';

/** A request is sent on at most so many times. */
export const MOST_REDIRECTS = 8;
export const ASKING = '*1\r\n$6\r\nASKING\r\n';
const NOBODY: ReplySink<unknown> = { onReply: () => undefined, onFailure: () => undefined };

/**
 * A pool over a real Redis Cluster: the servers of the file are where to begin. The slots are asked for at the start and whenever a MOVED shows that
 * they have changed; MOVED and ASK are followed, so clients never see them. Keys of several slots are split by slot.
 */
export class ClusterRoutes implements SpecialRoutes {
  readonly isActive = true;
  readonly #pool: ProxyPool;
  #isAsking = false;

  constructor(pool: ProxyPool) {
    this.#pool = pool;
    this.refresh();
  }

  holds(): boolean {
    return false;
  }

  redirected(bytes: Bytes, start: number, end: number, speaker: number): { readonly server: number; readonly isAsk: boolean } | undefined {
    const found = redirectOf(bytes, start, end);
    if (found === undefined) return undefined;
    this.#pool.stats.redirects++;
    if (!found.isAsk) this.refresh();
    return { server: this.#serverAt(found.address, speaker), isAsk: found.isAsk };
  }

  bring(keys: readonly Bytes[]): Promise<number> {
    return Promise.resolve(this.#pool.serverOf(keys[0]!));
  }

  takes(client: ProxyClient, command: RoutedCommand, server: number): boolean {
    // Transactions and what waits have connections of their own, which follow by themselves or say why not.
    if (command.kind !== 'keyed') return false;
    this.#pool.stats.server(server).requests++;
    const token = client.open(command, server, 1);
    this.#send(client.frame(), server, client, token, client, 0);
    return true;
  }

  takesSplit(client: ProxyClient, command: RoutedCommand, args: readonly Bytes[], keys: readonly Bytes[], step: number): boolean {
    const { map } = this.#pool;
    const parts = splitCommand(args, keys, step, (key) => map.slotOf(key));
    sendParts(client, command, parts, (part, join, index) => {
      this.#send(encodeRequest(part.args), map.ownerOf(part.group), join, index, client, 0);
    });
    return true;
  }

  #send(request: EncodedRequest, server: number, sink: ReplySink<number>, token: number, client: ProxyClient, redirects: number): void {
    const backend = this.#pool.backends(client.version)[server]!;
    const follow: ReplySink<undefined> = {
      onReply: (_, bytes, start, end) => {
        const found = redirects < MOST_REDIRECTS ? this.redirected(bytes, start, end, server) : undefined;
        if (found === undefined) {
          sink.onReply(token, bytes, start, end);
          return;
        }
        if (found.isAsk) this.#pool.backends(client.version)[found.server]!.send(ASKING, NOBODY, undefined, client.id);
        this.#send(request, found.server, sink, token, client, redirects + 1);
      },
      onFailure: (_: undefined, error: BackendError) => {
        this.refresh();
        sink.onFailure(token, error);
      },
    };
    backend.send(request, follow, undefined, client.id);
  }

  /** Its place in the map, into which it comes now when it is new. A node that names no host means the one that spoke. */
  #serverAt(address: ServerAddress, speaker: number): number {
    const pool = this.#pool;
    const there = pool.map.servers.find((_, i) => i === speaker)!.address;
    const full = 'host' in address && address.host === '' && 'host' in there ? { host: there.host, port: address.port } : address;
    const shown = showAddress(full);
    const index = pool.map.servers.findIndex((one) => showAddress(one.address) === shown);
    if (index >= 0) return index;
    pool.setMap(pool.map.withServers([...pool.map.servers, newServer(full)]));
    return pool.map.servers.length - 1;
  }

  /** Asks the servers, one after another, which slots are whose. */
  refresh(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const servers = this.#pool.backends(2).length;
    const ask = (server: number): void => {
      if (server >= servers) {
        this.#isAsking = false;
        return;
      }
      this.#pool.backends(2)[server]!.send(
        '*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n',
        {
          onReply: (_, bytes, start) => {
            if (!this.#take(readReply(bytes, start), server)) {
              ask(server + 1);
              return;
            }
            // Not at once again: a cluster in the middle of a change says MOVED to every request.
            setTimeout(() => {
              this.#isAsking = false;
            }, 100).unref();
          },
          onFailure: () => ask(server + 1),
        } satisfies ReplySink<undefined> as ReplySink<undefined>,
        undefined,
      );
    };
    ask(0);
  }

  #take(reply: Reply, speaker: number): boolean {
    if (!Array.isArray(reply) || reply.length === 0) return false;
    for (const run of reply as readonly Reply[]) {
      if (!Array.isArray(run) || typeof run[0] !== 'number' || typeof run[1] !== 'number' || !Array.isArray(run[2])) return false;
      const [first, last, node] = run as unknown as [number, number, readonly [Bytes | null, number]];
      const server = this.#serverAt({ host: node[0] === null ? '' : fromUtf8(node[0]), port: node[1] }, speaker);
      const changed: number[] = [];
      for (let slot = first; slot <= last; slot++) if (this.#pool.map.ownerOf(slot) !== server) changed.push(slot);
      if (changed.length > 0) this.#pool.setMap(this.#pool.map.withOwner(changed, server));
    }
    return true;
  }
}

function newServer(address: ServerAddress): PoolServer {
  return { name: showAddress(address), address, weight: 1 };
}

/** Where `-MOVED slot host:port` or `-ASK slot host:port` points. */
function redirectOf(bytes: Bytes, start: number, end: number): { readonly address: ServerAddress; readonly isAsk: boolean } | undefined {
  if (bytes[start] !== 45 || (bytes[start + 1] !== 77 && bytes[start + 1] !== 65) || end - start > 512) return undefined;
  const match = /^-(MOVED|ASK) \d+ (\S*):(\d+)\r\n$/.exec(fromUtf8(bytes.subarray(start, end)));
  if (!match) return undefined;
  const address = match[2] === '' ? { host: '', port: Number(match[3]) } : parseAddress(`${match[2]}:${match[3]}`);
  return address && { address, isAsk: match[1] === 'ASK' };
}
