import { fileURLToPath } from 'node:url';
import { isKeyfleetError } from '../../src/base/errors.ts';
import type { Prng } from '../../src/base/prng.ts';
import { type ClientStore, connectCluster } from '../../src/node/connect-cluster.ts';
import type { Keyspace } from '../../src/node/keyspace.ts';
import { loadModule } from '../../src/node/load-module.ts';
import type { Session } from '../../src/node/session.ts';
import { FaultyLink } from '../faulty-link.ts';

// The ways to the keyspace `ledger`: HTTP, by any node, and the TypeScript client, which has the map and goes to the leader itself.

export type LedgerCommand = { readonly kind: 'add'; readonly amount: number } | { readonly kind: 'append'; readonly item: string };

/** What came of sending a request once. */
export type SentOnce = { readonly answer: string } | 'nothing-done' | 'unknown';

export interface LedgerRequest {
  /** Run once, however often it is sent. */
  readonly isRepeatable: boolean;
  /** @throws for what no retry mends. */
  send(): Promise<SentOnce>;
  /** It is not sent again. */
  close(): void;
}

export interface LedgerDoor {
  /** `id`: nobody else's. */
  command(key: string, command: LedgerCommand, id: string): LedgerRequest;
  query(key: string): LedgerRequest;
}

const TRY_MS = 3_000;
/** So long a node that failed a request is left alone, if there are others. */
const AVOID_MS = 5_000;

/** Any node, over HTTP, each try another one. */
export class HttpDoor implements LedgerDoor {
  readonly #urls: () => readonly string[];
  readonly #chance: Prng;
  /** When a node last failed a request. */
  readonly #failedMs = new Map<string, number>();

  /** @param urls of the nodes that may be asked now. */
  constructor(urls: () => readonly string[], chance: Prng) {
    this.#urls = urls;
    this.#chance = chance;
  }

  command(key: string, command: LedgerCommand, id: string): LedgerRequest {
    return { isRepeatable: true, send: () => this.#send('command', { key, command }, id), close: () => {} };
  }

  query(key: string): LedgerRequest {
    return { isRepeatable: true, send: () => this.#send('query', { key, query: null }), close: () => {} };
  }

  async #send(path: 'command' | 'query', body: object, id?: string): Promise<SentOnce> {
    const url = this.#choose();
    if (url === undefined) return 'nothing-done';
    const sent = await post(`${url}/v1/keyspaces/ledger/${path}`, body, id);
    if (sent === 'unknown') this.#failedMs.set(url, performance.now());
    return sent;
  }

  #choose(): string | undefined {
    const urls = this.#urls();
    const good = urls.filter((url) => performance.now() - (this.#failedMs.get(url) ?? Number.NEGATIVE_INFINITY) > AVOID_MS);
    const among = good.length > 0 ? good : urls;
    return among[this.#chance.below(Math.max(1, among.length))];
  }
}

async function post(url: string, body: object, id: string | undefined): Promise<SentOnce> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(id === undefined ? {} : { 'idempotency-key': id }) },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TRY_MS),
    });
    text = await response.text();
  } catch {
    return 'unknown';
  }
  if (response.status >= 500) return 'unknown';
  if (!response.ok) throw new Error(`${url} ${JSON.stringify(body)}: ${response.status} ${text}`);
  const { reply, answer } = JSON.parse(text) as { readonly reply?: string; readonly answer?: string };
  return { answer: reply ?? answer ?? '' };
}

const MODULE = fileURLToPath(new URL('./ledger-module.mjs', import.meta.url));
const UNKNOWN = new Set(['KF_OUTCOME_UNKNOWN', 'KF_STORAGE_FAILED']);

/** A `connectCluster` of its own, over links to the nats-servers that are its own. Most of its commands have ids; of the others nobody knows at times what became. */
export class ClientDoor implements LedgerDoor {
  /** In the order of the nats-servers. */
  readonly links: readonly FaultyLink[];
  readonly #store: ClientStore;
  readonly #ledger: Keyspace<string, LedgerCommand, string, null, string>;
  readonly #session: Session;
  readonly #chance: Prng;

  private constructor(
    links: readonly FaultyLink[],
    store: ClientStore,
    ledger: Keyspace<string, LedgerCommand, string, null, string>,
    chance: Prng,
  ) {
    this.links = links;
    this.#store = store;
    this.#ledger = ledger;
    this.#session = store.session();
    this.#chance = chance;
  }

  /** @param ports of the nats-servers. */
  static async open(ports: readonly number[], chance: Prng): Promise<ClientDoor> {
    const links = await Promise.all(ports.map((port) => FaultyLink.start(port)));
    try {
      const servers = links.map(({ port }) => `nats://127.0.0.1:${port}`);
      const store = await connectCluster({ cluster: 'test', nats: { servers }, requestTimeoutMs: TRY_MS });
      const ledger = await store.registerKeyspace('ledger', { module: await loadModule(MODULE) });
      return new ClientDoor(links, store, ledger as never, chance);
    } catch (error) {
      await Promise.all(links.map((link) => link.close()));
      throw error;
    }
  }

  command(key: string, command: LedgerCommand): LedgerRequest {
    const request = this.#chance.below(4) === 0 ? undefined : this.#session.request();
    return {
      isRepeatable: request !== undefined,
      send: () => sentOnce(this.#ledger.command(key, command, request && { request })),
      close: () => request && this.#session.close(request),
    };
  }

  query(key: string): LedgerRequest {
    const read = this.#chance.below(3) === 0 ? 'barrier' : 'lease';
    return { isRepeatable: true, send: () => sentOnce(this.#ledger.query(key, null, { read })), close: () => {} };
  }

  async close(): Promise<void> {
    await this.#store.close();
    await Promise.all(this.links.map((link) => link.close()));
  }
}

async function sentOnce(answered: Promise<string>): Promise<SentOnce> {
  try {
    return { answer: await answered };
  } catch (error) {
    if (isKeyfleetError(error) && error.retryable) return 'nothing-done';
    if (isKeyfleetError(error) && UNKNOWN.has(error.code)) return 'unknown';
    throw error;
  }
}
