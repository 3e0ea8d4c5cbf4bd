import { COMMAND_INDEX_END } from '../shard/redis/command-table.ts';

/** Upper bounds of the latency histogram's buckets, in microseconds; one bucket more counts what is above. */
export const LATENCY_BOUNDS_MICROS: readonly number[] = [
  50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
];

/** Of so many commands, one is timed: reading the clock for each would cost more than many a command. */
export const LATENCY_SAMPLE_EVERY = 16;

/**
 * What the RESP door has done, as plain numbers: INFO and `/metrics` read them. Counters only grow (but for {@link reset}).
 * Times run from the command's arrival to its answer, durability included, and are measured on a sample.
 */
export class RespStats {
  commands = 0;
  connectionsOpened = 0;
  /** Turned away: `maxclients`. */
  connectionsRejected = 0;
  /** Closed by us, by reason. */
  closedIdle = 0;
  closedStalled = 0;
  closedOutputLimit = 0;
  closedQueryLimit = 0;
  closedProtocolError = 0;
  bytesIn = 0;
  bytesOut = 0;
  authFailures = 0;
  /** Connections open now. */
  connections = 0;
  /** Most connections that were open at once. */
  connectionsPeak = 0;
  /** Commands received and not answered yet. */
  inFlight = 0;
  /** Error replies by their first word: `ERR`, `WRONGTYPE`, … */
  readonly errors = new Map<string, number>();
  /** By the index of the command in the command table. */
  readonly calls = new Float64Array(COMMAND_INDEX_END);
  readonly failed = new Float64Array(COMMAND_INDEX_END);
  /** Refused before they ran: arity, no password. */
  readonly rejected = new Float64Array(COMMAND_INDEX_END);
  readonly sampledCalls = new Float64Array(COMMAND_INDEX_END);
  readonly sampledMicros = new Float64Array(COMMAND_INDEX_END);
  /** Sampled commands by latency: bucket i counts those up to `LATENCY_BOUNDS_MICROS[i]`, the last one the rest. */
  readonly latency = new Float64Array(LATENCY_BOUNDS_MICROS.length + 1);
  latencySumMicros = 0;
  /** Commands in each of the last seconds, for `instantaneous_ops_per_sec`. */
  opsPerSecond = 0;
  bytesInPerSecond = 0;
  bytesOutPerSecond = 0;

  #lastTick = { atMs: 0, commands: 0, bytesIn: 0, bytesOut: 0 };

  sampled(index: number, micros: number): void {
    this.sampledCalls[index]! += 1;
    this.sampledMicros[index]! += micros;
    this.latencySumMicros += micros;
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_MICROS.length && micros > LATENCY_BOUNDS_MICROS[bucket]!) bucket++;
    this.latency[bucket]! += 1;
  }

  /** Counts an error reply. Its first word is the kind; after so many kinds the rest is counted together, as they may come from clients. */
  error(text: string): void {
    const space = text.indexOf(' ');
    let word = space < 0 ? text : text.slice(0, space);
    if (!this.errors.has(word) && this.errors.size >= 128) word = 'OTHER';
    this.errors.set(word, (this.errors.get(word) ?? 0) + 1);
  }

  /** Error replies in all. */
  get errorCount(): number {
    let sum = 0;
    for (const count of this.errors.values()) sum += count;
    return sum;
  }

  /** Renews the rates; called about once a second. */
  tick(nowMs: number): void {
    const last = this.#lastTick;
    const seconds = (nowMs - last.atMs) / 1_000;
    if (seconds <= 0) return;
    const rate = (now: number, before: number): number => (last.atMs === 0 ? 0 : Math.max(0, Math.round((now - before) / seconds)));
    this.opsPerSecond = rate(this.commands, last.commands);
    this.bytesInPerSecond = rate(this.bytesIn, last.bytesIn);
    this.bytesOutPerSecond = rate(this.bytesOut, last.bytesOut);
    this.#lastTick = { atMs: nowMs, commands: this.commands, bytesIn: this.bytesIn, bytesOut: this.bytesOut };
  }

  /** CONFIG RESETSTAT: back to zero, but for what is open now. */
  reset(): void {
    this.commands = 0;
    this.connectionsOpened = 0;
    this.connectionsRejected = 0;
    this.closedIdle = 0;
    this.closedStalled = 0;
    this.closedOutputLimit = 0;
    this.closedQueryLimit = 0;
    this.closedProtocolError = 0;
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.authFailures = 0;
    this.connectionsPeak = this.connections;
    this.errors.clear();
    for (const counts of [this.calls, this.failed, this.rejected, this.sampledCalls, this.sampledMicros, this.latency]) counts.fill(0);
    this.latencySumMicros = 0;
    this.#lastTick = { atMs: 0, commands: 0, bytesIn: 0, bytesOut: 0 };
  }
}
