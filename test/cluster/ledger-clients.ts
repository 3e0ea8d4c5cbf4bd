import { setTimeout as sleep } from 'node:timers/promises';
import { checkLinearizable, type Model } from '../../sim/linearizability/checker.ts';
import { HistoryRecorder } from '../../sim/linearizability/history.ts';
import { type CounterInput, counters, type ListInput, lists } from '../../sim/linearizability/models.ts';
import type { Prng } from '../../src/base/prng.ts';
import { type ClientDoor, HttpDoor, type LedgerDoor, type LedgerRequest } from './ledger-doors.ts';

// Clients that add to counters and lists of the module `ledger`, most of them with ids, so that they may be sent again until they are answered; what has none and
// met an unknown outcome is left alone. Every change answers all that there is, and everything that is answered is written down.

const KEYS_OF_A_KIND = 3;
/** Then clients turn to fresh keys, so that histories of one key stay short. */
const REQUESTS_OF_AN_AGE = 150;
const PAUSE_MS = 40;
const MOST_ATTEMPTS = 2_000;
/** Requests that one {@link ClientDoor} has under way. */
const REQUESTS_OF_A_DOOR = 2;

export interface LedgerCounts {
  /** Requests that have been answered, queries and commands. */
  readonly answered: number;
  /** Sent again since no answer or a refusal came. */
  readonly retried: number;
  /** Commands without an id of which nobody knows whether they were run. */
  readonly unknown: number;
  /** The longest time that one request took, all its tries together, since the last {@link LedgerClients.lap}. */
  readonly slowestMs: number;
}

export class LedgerClients {
  readonly #chance: Prng;
  readonly #counters = new HistoryRecorder<CounterInput, number>();
  readonly #lists = new HistoryRecorder<ListInput, string>();
  readonly #keys = new Set<string>();
  /** By which every key is read in the end. */
  readonly #judge: LedgerDoor;
  readonly #running: Promise<void>[];
  readonly #run: string;
  #count = 0;
  #answered = 0;
  #retried = 0;
  #unknown = 0;
  #slowestMs = 0;
  #stop = false;
  #fault: Error | undefined;

  /** @param options `clients` ask over HTTP the nodes of `urls`, those that may be asked now; `doors` stay the caller's to close. */
  constructor(options: {
    readonly urls: () => readonly string[];
    readonly clients: number;
    readonly chance: Prng;
    readonly doors?: readonly ClientDoor[];
  }) {
    const { urls, clients, chance, doors = [] } = options;
    this.#chance = chance;
    this.#run = String(chance.below(1_000_000_000));
    this.#judge = new HttpDoor(urls, chance);
    const ways: LedgerDoor[] = [
      ...Array.from({ length: clients }, () => this.#judge),
      ...doors.flatMap((door) => Array.from({ length: REQUESTS_OF_A_DOOR }, () => door)),
    ];
    this.#running = ways.map((door, i) => this.#client(`c${i}`, door));
  }

  get counts(): LedgerCounts {
    return { answered: this.#answered, retried: this.#retried, unknown: this.#unknown, slowestMs: this.#slowestMs };
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
    for (let i = 0; i < keys.length; i += 16) await Promise.all(keys.slice(i, i + 16).map((key) => this.#read('judge', this.#judge, key)));
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

  async #client(name: string, door: LedgerDoor): Promise<void> {
    try {
      while (!this.#stop) await this.#request(name, door);
    } catch (error) {
      this.#fault ??= error as Error;
    }
  }

  async #request(client: string, door: LedgerDoor): Promise<void> {
    const number = this.#count++;
    const age = Math.floor(number / REQUESTS_OF_AN_AGE);
    const kind = this.#chance.below(2) === 0 ? 'c' : 'l';
    const key = `${kind}${this.#run}.${age}.${this.#chance.below(KEYS_OF_A_KIND)}`;
    this.#keys.add(key);
    if (this.#chance.below(3) === 0) return this.#read(client, door, key);
    const id = `${this.#run}-${client}-${number}`;
    if (kind === 'c') {
      const token = this.#counters.call(client, { kind: 'add', key, amount: 1 });
      const reply = await this.#send(door.command(key, { kind: 'add', amount: 1 }, id), key);
      if (reply !== undefined) this.#counters.settled(token, Number(reply));
    } else {
      const token = this.#lists.call(client, { kind: 'append', key, item: id });
      const reply = await this.#send(door.command(key, { kind: 'append', item: id }, id), key);
      if (reply !== undefined) this.#lists.settled(token, reply);
    }
  }

  async #read(client: string, door: LedgerDoor, key: string): Promise<void> {
    if (key.startsWith('c')) {
      const token = this.#counters.call(client, { kind: 'get', key });
      this.#counters.settled(token, Number(await this.#send(door.query(key), key)));
    } else {
      const token = this.#lists.call(client, { kind: 'list', key });
      this.#lists.settled(token, (await this.#send(door.query(key), key))!);
    }
  }

  /** Sends it until it is answered; undefined: nobody knows what became of it, and it has no id. */
  async #send(request: LedgerRequest, key: string): Promise<string | undefined> {
    const beganMs = performance.now();
    try {
      for (let attempt = 0; attempt <= MOST_ATTEMPTS; attempt++) {
        const sent = await request.send();
        this.#slowestMs = Math.max(this.#slowestMs, performance.now() - beganMs);
        if (typeof sent === 'object') {
          this.#answered++;
          return sent.answer;
        }
        if (sent === 'unknown' && !request.isRepeatable) {
          this.#unknown++;
          return undefined;
        }
        if (this.#fault) throw this.#fault;
        this.#retried++;
        await sleep(PAUSE_MS);
      }
    } finally {
      request.close();
    }
    throw new Error(`a request for ${key} was never answered`);
  }
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
