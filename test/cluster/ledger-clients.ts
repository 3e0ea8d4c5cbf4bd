import { setTimeout as sleep } from 'node:timers/promises';
import { checkLinearizable, type Model } from '../../sim/linearizability/checker.ts';
import { HistoryRecorder } from '../../sim/linearizability/history.ts';
import { type CounterInput, counters, type ListInput, lists } from '../../sim/linearizability/models.ts';
import type { Prng } from '../../src/base/prng.ts';

// Clients that add to counters and lists of the module `ledger` over HTTP, on any node, each request under a key of its own, so that it may be sent again
// until it is answered. Every change answers all that there is, and everything that is answered is written down.

const KEYS_OF_A_KIND = 3;
/** Then clients turn to fresh keys, so that histories of one key stay short. */
const REQUESTS_OF_AN_AGE = 150;
const TRY_MS = 3_000;
const PAUSE_MS = 40;
/** So long a node that failed a request is left alone, if there are others. */
const AVOID_MS = 5_000;

export interface LedgerCounts {
  /** Requests that have been answered, queries and commands. */
  readonly answered: number;
  /** Sent again since no answer or a refusal came. */
  readonly retried: number;
  /** The longest time that one request took, all its tries together, since the last {@link LedgerClients.lap}. */
  readonly slowestMs: number;
}

export class LedgerClients {
  readonly #urls: () => readonly string[];
  readonly #chance: Prng;
  readonly #counters = new HistoryRecorder<CounterInput, number>();
  readonly #lists = new HistoryRecorder<ListInput, string>();
  readonly #keys = new Set<string>();
  /** When a node last failed a request. */
  readonly #failedMs = new Map<string, number>();
  readonly #running: Promise<void>[];
  readonly #run: string;
  #count = 0;
  #answered = 0;
  #retried = 0;
  #slowestMs = 0;
  #stop = false;
  #fault: Error | undefined;

  /** @param urls of the nodes that may be asked now. */
  constructor(options: { readonly urls: () => readonly string[]; readonly clients: number; readonly chance: Prng }) {
    this.#urls = options.urls;
    this.#chance = options.chance;
    this.#run = String(options.chance.below(1_000_000_000));
    this.#running = Array.from({ length: options.clients }, (_, i) => this.#client(`c${i}`));
  }

  get counts(): LedgerCounts {
    return { answered: this.#answered, retried: this.#retried, slowestMs: this.#slowestMs };
  }

  /** The slowest request since the last lap, those included that wait still. */
  lap(): number {
    const ms = this.#slowestMs;
    this.#slowestMs = 0;
    return ms;
  }

  /** Waits for so many more answers. @throws after `limitMs`. */
  async answers(count: number, limitMs = 60_000): Promise<void> {
    const wanted = this.#answered + count;
    const endMs = Date.now() + limitMs;
    while (this.#answered < wanted) {
      if (this.#fault) throw this.#fault;
      if (Date.now() > endMs) throw new Error(`${wanted - this.#answered} of ${count} answers did not come within ${limitMs} ms`);
      await sleep(10);
    }
  }

  /** Ends the work without a word on it: what is not answered stays so. */
  async abandon(): Promise<void> {
    this.#stop = true;
    this.#fault ??= new Error('abandoned');
    await Promise.all(this.#running);
  }

  /** Ends the work, reads every key a last time, and judges. Answers what is wrong; nothing, if all is well. */
  async judge(): Promise<string[]> {
    this.#stop = true;
    await Promise.all(this.#running);
    if (this.#fault) throw this.#fault;
    const keys = [...this.#keys];
    for (let i = 0; i < keys.length; i += 16) await Promise.all(keys.slice(i, i + 16).map((key) => this.#read('judge', key)));
    return [...verdictOf('counters', counters, this.#counters), ...verdictOf('lists', lists, this.#lists), ...this.#doubled()];
  }

  /** Items that stand twice, or not at all though they were acknowledged. */
  #doubled(): string[] {
    const history = this.#lists.history();
    const wrong: string[] = [];
    for (const key of new Set(history.map(({ input }) => input.key))) {
      const of = history.filter(({ input }) => input.key === key);
      const last = of.filter(({ client }) => client === 'judge').at(-1)?.output ?? '';
      const items = last.split(' ').filter((item) => item !== '');
      if (new Set(items).size !== items.length) wrong.push(`${key} has an item twice: ${last}`);
      for (const { input, output } of of)
        if (input.kind === 'append' && output !== undefined && !items.includes(input.item))
          wrong.push(`${key} has lost ${input.item}: ${last}`);
    }
    return wrong;
  }

  async #client(name: string): Promise<void> {
    try {
      while (!this.#stop) await this.#request(name);
    } catch (error) {
      this.#fault ??= error as Error;
    }
  }

  async #request(client: string): Promise<void> {
    const number = this.#count++;
    const age = Math.floor(number / REQUESTS_OF_AN_AGE);
    const kind = this.#chance.below(2) === 0 ? 'c' : 'l';
    const key = `${kind}${this.#run}.${age}.${this.#chance.below(KEYS_OF_A_KIND)}`;
    this.#keys.add(key);
    if (this.#chance.below(3) === 0) return this.#read(client, key);
    const id = `${this.#run}-${client}-${number}`;
    if (kind === 'c') {
      const token = this.#counters.call(client, { kind: 'add', key, amount: 1 });
      const reply = await this.#send('command', { key, command: { kind: 'add', amount: 1 } }, id);
      this.#counters.settled(token, Number(reply));
    } else {
      const token = this.#lists.call(client, { kind: 'append', key, item: id });
      this.#lists.settled(token, await this.#send('command', { key, command: { kind: 'append', item: id } }, id));
    }
  }

  async #read(client: string, key: string): Promise<void> {
    if (key.startsWith('c')) {
      const token = this.#counters.call(client, { kind: 'get', key });
      this.#counters.settled(token, Number(await this.#send('query', { key, query: null })));
    } else {
      const token = this.#lists.call(client, { kind: 'list', key });
      this.#lists.settled(token, await this.#send('query', { key, query: null }));
    }
  }

  #choose(): string | undefined {
    const urls = this.#urls();
    const good = urls.filter((url) => performance.now() - (this.#failedMs.get(url) ?? Number.NEGATIVE_INFINITY) > AVOID_MS);
    const among = good.length > 0 ? good : urls;
    return among[this.#chance.below(Math.max(1, among.length))];
  }

  /** Asks one node after the other until one answers. */
  async #send(path: 'command' | 'query', body: object, id?: string): Promise<string> {
    const beganMs = performance.now();
    for (let attempt = 0; ; attempt++) {
      const url = this.#choose();
      const answer = url === undefined ? undefined : await ask(`${url}/v1/keyspaces/ledger/${path}`, body, id);
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - beganMs);
      if (answer !== undefined) {
        this.#answered++;
        return answer;
      }
      if (this.#fault) throw this.#fault;
      if (url !== undefined) this.#failedMs.set(url, performance.now());
      this.#retried++;
      if (attempt > 2_000) throw new Error(`${path} ${JSON.stringify(body)} was never answered`);
      await sleep(PAUSE_MS);
    }
  }
}

/** The reply; undefined when it may be asked for again. @throws for what no retry mends. */
async function ask(url: string, body: object, id: string | undefined): Promise<string | undefined> {
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
    return undefined;
  }
  if (response.status >= 500) return undefined;
  if (!response.ok) throw new Error(`${url} ${JSON.stringify(body)}: ${response.status} ${text}`);
  const { reply, answer } = JSON.parse(text) as { readonly reply?: string; readonly answer?: string };
  return reply ?? answer ?? '';
}

function verdictOf<State extends string | number, Input, Output>(
  of: string,
  model: Model<State, Input, Output>,
  recorder: HistoryRecorder<Input, Output>,
): string[] {
  const verdict = checkLinearizable(model, recorder.history(), { maxSteps: 500_000 });
  if (verdict.kind === 'linearizable') return [];
  const stuck = verdict.kind === 'violation' ? `: ${JSON.stringify(verdict.stuck)} after ${JSON.stringify(verdict.placed.slice(-3))}` : '';
  return [`${of}: ${verdict.kind} at ${verdict.part}${stuck}`];
}
