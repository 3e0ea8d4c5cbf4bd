import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import type { KeyspaceRecord, NodesRecord } from '../../shard/meta/meta-records.ts';
import { FIRST_PROTOCOL } from '../../shard/meta/node-record.ts';
import { ANYONE, type Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import { type ClusterMap, RecordedMap } from './cluster-map.ts';
import { PROTOCOL } from './cluster-options.ts';
import { requestWhole } from './large-answers.ts';
import { isLater, MAP, type MapAnswer, type MapRequest, type MapVersion } from './map-source.ts';
import { MapWaiters } from './map-waiters.ts';
import { decodeJson, encodeJson } from './reports.ts';

// The map as a client has it: asked of any node once a second, and at once whenever a request went astray.

const EVERY_MS = 1_000;
const TIMEOUT_MS = 1_000;
/** Between two askings of requests that went astray. */
const SOON_MS = 20;

export interface RemoteMapOptions {
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly onAnswer: (answer: MapAnswer) => void;
  readonly onError: (error: Error) => void;
}

export class RemoteMap implements ClusterMap {
  readonly #options: RemoteMapOptions;
  readonly #waiters: MapWaiters;
  #map = new RecordedMap([]);
  #version: MapVersion | undefined;
  /** Asked in vain, so many times one after the other. */
  #failures = 0;
  #isAsking = false;
  #askAgain = false;
  #isStopped = false;
  /** When it is asked for next. */
  #dueMs = 0;
  #cancel: () => void = () => {};

  constructor(options: RemoteMapOptions) {
    this.#options = options;
    this.#waiters = new MapWaiters(options.clock);
  }

  get cluster(): NodesRecord {
    return this.#map.cluster;
  }

  get keyspaces(): ReadonlyMap<string, KeyspaceRecord> {
    return this.#map.keyspaces;
  }

  get nextShardId(): number {
    return this.#map.nextShardId;
  }

  keyspaceOfId(id: number): KeyspaceRecord | undefined {
    return this.#map.keyspaceOfId(id);
  }

  speaks(since: number): boolean {
    return this.#map.speaks(since);
  }

  /**
   * Fulfilled with the first map.
   * @throws KF_UNAVAILABLE when no node of the cluster has given one in time; KF_NODE_INCOMPATIBLE.
   */
  async open(timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.now().monoMs + timeoutMs;
    while (true) {
      const error = await this.#ask();
      if (!error && this.#map.cluster.nodes.length > 0) break;
      if (error?.code === 'KF_NODE_INCOMPATIBLE') throw error;
      if (clock.now().monoMs >= endMs) {
        const why = error?.message ?? 'a node answers that is in no cluster yet';
        throw new KeyfleetError('KF_UNAVAILABLE', `no node of the cluster tells its map: ${why}`, { cause: error, retryable: true });
      }
      await new Promise<void>((resolve) => void clock.after(5 * SOON_MS, resolve));
    }
    this.#arm(EVERY_MS);
  }

  /** What is known has led a request astray: asks soon. */
  refresh(): void {
    if (this.#isAsking) this.#askAgain = true;
    // However often it is called meanwhile.
    else if (this.#dueMs > this.#options.clock.now().monoMs + SOON_MS) this.#arm(SOON_MS);
  }

  /** Looks whenever another map has come, and asks for it; false when it did not come true in time. */
  within(ms: number, isTrue: () => boolean): Promise<boolean> {
    this.refresh();
    return this.#waiters.within(ms, isTrue);
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #arm(ms: number): void {
    this.#cancel();
    if (this.#isStopped) return;
    this.#dueMs = this.#options.clock.now().monoMs + ms;
    this.#cancel = this.#options.clock.after(ms, () => {
      void this.#ask().then((error) => {
        if (error) this.#options.onError(error);
        this.#waiters.changed();
        this.#arm(error || this.#askAgain || !this.#waiters.isEmpty ? 5 * SOON_MS : EVERY_MS);
      });
    });
  }

  /** What it came to, but for success. */
  async #ask(): Promise<KeyfleetError | undefined> {
    const { transport, onAnswer } = this.#options;
    this.#isAsking = true;
    this.#askAgain = false;
    try {
      const request: MapRequest = this.#version ? { has: this.#version } : {};
      const answer = decodeJson<MapAnswer>(await requestWhole(transport, this.#whom(), MAP, encodeJson(request), TIMEOUT_MS));
      this.#failures = 0;
      const { version, records } = answer;
      if (records && (!this.#version || isLater(version, this.#version))) {
        const map = new RecordedMap(records);
        checkProtocol(map);
        this.#map = map;
        this.#version = version;
      }
      if (!this.#isStopped) onAnswer(answer);
      return undefined;
    } catch (error) {
      if (!isKeyfleetError(error)) throw error;
      this.#failures++;
      return error;
    } finally {
      this.#isAsking = false;
    }
  }

  /** Anybody; and when that came to nothing, as with a node that is dying, each of those that are known. */
  #whom(): string {
    const known = this.#map.cluster.nodes.filter(({ status }) => status === 'up' || status === 'draining');
    if (this.#failures === 0 || known.length === 0) return ANYONE;
    return known[this.#failures % known.length]!.id;
  }
}

/** @throws KF_NODE_INCOMPATIBLE */
function checkProtocol({ cluster: { protocol = FIRST_PROTOCOL } }: ClusterMap): void {
  if (protocol >= PROTOCOL.min && protocol <= PROTOCOL.max) return;
  const knows = `this release knows protocols ${PROTOCOL.min} to ${PROTOCOL.max}`;
  throw new KeyfleetError(
    'KF_NODE_INCOMPATIBLE',
    `${knows}, and the cluster speaks ${protocol}: the client needs the release of its nodes`,
  );
}
