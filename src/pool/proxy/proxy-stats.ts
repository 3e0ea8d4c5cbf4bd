import { type Bytes, fromUtf8 } from '../../base/bytes.ts';
import { commandsByIndex, MAX_COMMANDS } from '../command-table.ts';

/** Latencies are counted by powers of two: bucket b holds those below 2^b microseconds, the last all others. */
export const LATENCY_BUCKETS = 25;
const SLOW_ENTRIES = 128;
/** One request in so many has its key counted. */
export const HOT_KEY_SAMPLE = 64;
const HOT_KEYS = 512;
const SHOWN_BYTES = 128;

export interface SlowEntry {
  readonly id: number;
  readonly atMs: number;
  readonly tookMs: number;
  readonly command: string;
  readonly key: Bytes | undefined;
  readonly address: string;
  readonly clientName: string;
}

/** What happened on the way to one server. */
export interface ServerCounters {
  requests: number;
  requestBytes: number;
  responses: number;
  responseBytes: number;
  /** Error replies. */
  errorReplies: number;
  /** Connections that could not be made, or were lost. */
  failures: number;
  timeouts: number;
  eof: number;
  /** When it was last ejected, epoch milliseconds; 0: never. */
  ejectedAtMs: number;
  ejections: number;
}

/** The counters of one pool in one process. Plain numbers, added to on the hot path, read by whoever shows them. */
export class ProxyStats {
  readonly startedMs = Date.now();
  /** Requests by command index. */
  readonly commands = new Float64Array(MAX_COMMANDS);
  /** Error replies by command index. */
  readonly errors = new Float64Array(MAX_COMMANDS);
  readonly latency = new Float64Array(MAX_COMMANDS * LATENCY_BUCKETS);
  readonly latencySumMs = new Float64Array(MAX_COMMANDS);
  servers: ServerCounters[] = [];
  clientBytesIn = 0;
  clientBytesOut = 0;
  clients = 0;
  clientsOpened = 0;
  clientsClosed = 0;
  clientsRejected = 0;
  protocolErrors = 0;
  forwardErrors = 0;
  closedOutputLimit = 0;
  closedStalled = 0;
  authFailures = 0;
  redirects = 0;
  slowMs = 10;
  #slow: SlowEntry[] = [];
  #slowId = 0;
  #hot = new Map<string, number>();
  #turn = 0;
  /** The counts of latencies when {@link p99SinceAskedMs} was last asked. */
  #asked = new Float64Array(LATENCY_BUCKETS);

  server(index: number): ServerCounters {
    while (this.servers.length <= index) this.servers.push(newServerCounters());
    return this.servers[index]!;
  }

  /** Other servers in other places: the counters of those that stay, undefined for new ones. */
  setServers(counters: readonly (ServerCounters | undefined)[]): void {
    this.servers = counters.map((one) => one ?? newServerCounters());
  }

  answered(command: number, server: number, tookMs: number, bytes: number, isError: boolean): void {
    const micros = (tookMs * 1_000) | 0;
    const bucket = Math.min(LATENCY_BUCKETS - 1, 32 - Math.clz32(micros));
    this.latency[command * LATENCY_BUCKETS + bucket]! += 1;
    this.latencySumMs[command]! += tookMs;
    if (isError) this.errors[command]! += 1;
    const counters = this.servers[server];
    if (counters === undefined) return;
    counters.responses++;
    counters.responseBytes += bytes;
    if (isError) counters.errorReplies++;
  }

  slow(command: number, tookMs: number, key: Bytes | undefined, client: { readonly address: string; readonly name: string }): void {
    this.#slow.push({
      id: this.#slowId++,
      atMs: Date.now(),
      tookMs,
      command: commandsByIndex()[command]?.name ?? '',
      key: key?.slice(0, SHOWN_BYTES),
      address: client.address,
      clientName: client.name,
    });
    if (this.#slow.length > SLOW_ENTRIES) this.#slow.shift();
  }

  /** The slowest-log entries, newest first. */
  slowEntries(): readonly SlowEntry[] {
    return this.#slow.toReversed();
  }

  resetSlow(): void {
    this.#slow = [];
  }

  /** The 99th percentile of the latencies of commands with keys since it was last asked for, to the next power of two; undefined without any. */
  p99SinceAskedMs(): number | undefined {
    const now = new Float64Array(LATENCY_BUCKETS);
    for (const { kind, index } of commandsByIndex()) {
      // What waits at a server takes the time it is told to.
      if (kind !== 'keyed' || this.commands[index] === 0) continue;
      for (let bucket = 0; bucket < LATENCY_BUCKETS; bucket++) now[bucket]! += this.latency[index * LATENCY_BUCKETS + bucket]!;
    }
    const fresh = now.map((count, bucket) => count - this.#asked[bucket]!);
    this.#asked = now;
    let left = 0.99 * fresh.reduce((sum, count) => sum + count, 0);
    if (left === 0) return undefined;
    const bucket = fresh.findIndex((count) => (left -= count) <= 0);
    return 2 ** Math.max(0, bucket) / 1_000;
  }

  /** Whether the key of the request at hand is to be given to {@link sampled}. */
  wantsKey(): boolean {
    return (++this.#turn & (HOT_KEY_SAMPLE - 1)) === 0;
  }

  sampled(key: Bytes): void {
    const text = fromUtf8(key.length > SHOWN_BYTES ? key.subarray(0, SHOWN_BYTES) : key);
    this.#hot.set(text, (this.#hot.get(text) ?? 0) + 1);
    if (this.#hot.size > HOT_KEYS) this.#forget();
  }

  /** Halves all counts, and drops those seen only once: what stays is what keeps coming. */
  #forget(): void {
    const kept = [...this.#hot].filter(([, count]) => count > 1).map(([key, count]) => [key, count / 2] as const);
    this.#hot = new Map(kept.length < HOT_KEYS ? kept : kept.toSorted((a, b) => b[1] - a[1]).slice(0, HOT_KEYS / 2));
  }

  /** The keys asked for most of late, with about how many of the sampled requests were theirs. */
  hotKeys(count: number): readonly (readonly [string, number])[] {
    return [...this.#hot].toSorted((a, b) => b[1] - a[1]).slice(0, count);
  }

  get requests(): number {
    return this.commands.reduce((sum, one) => sum + one, 0);
  }

  /** As plain data, to be sent between processes. */
  snapshot(): StatsSnapshot {
    const commands = commandsByIndex()
      .filter(({ index }) => this.commands[index]! > 0)
      .map(({ index, name }) => ({
        name,
        calls: this.commands[index]!,
        errors: this.errors[index]!,
        sumMs: this.latencySumMs[index]!,
        buckets: [...this.latency.subarray(index * LATENCY_BUCKETS, (index + 1) * LATENCY_BUCKETS)],
      }));
    const { clients, clientsOpened, clientsClosed, clientsRejected, clientBytesIn, clientBytesOut, protocolErrors, forwardErrors } = this;
    const { closedOutputLimit, closedStalled, authFailures, redirects } = this;
    return {
      startedMs: this.startedMs,
      commands,
      numbers: {
        clients,
        clientsOpened,
        clientsClosed,
        clientsRejected,
        clientBytesIn,
        clientBytesOut,
        protocolErrors,
        forwardErrors,
        closedOutputLimit,
        closedStalled,
        authFailures,
        redirects,
      },
      hotKeys: this.hotKeys(20),
    };
  }
}

export interface CommandSnapshot {
  readonly name: string;
  readonly calls: number;
  readonly errors: number;
  readonly sumMs: number;
  readonly buckets: readonly number[];
}

export interface StatsSnapshot {
  readonly startedMs: number;
  readonly commands: readonly CommandSnapshot[];
  readonly numbers: Readonly<Record<string, number>>;
  readonly hotKeys: readonly (readonly [string, number])[];
}

function newServerCounters(): ServerCounters {
  return {
    requests: 0,
    requestBytes: 0,
    responses: 0,
    responseBytes: 0,
    errorReplies: 0,
    failures: 0,
    timeouts: 0,
    eof: 0,
    ejectedAtMs: 0,
    ejections: 0,
  };
}
