import { textOf } from '../../src/pool/moves/move-link.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';

/** Sends one command whose first argument is a key. */
export type Send = (name: string, key: string, rest: readonly (string | number)[], write: boolean) => Promise<Reply>;

/** What a lost answer leaves possible: the command had its effect, or had not. */
export interface WorkloadReport {
  operations: number;
  errors: number;
  readonly wrong: string[];
}

/**
 * One worker over keys of its own, which knows what every answer must be: counters, strings, deletes, lists, sets, keys that expire. After an error the outcome is unknown, so
 * the key is read back and must be what it was before or what the command makes of it.
 */
export class ExactWorker {
  readonly report: WorkloadReport = { operations: 0, errors: 0, wrong: [] };
  readonly #name: string;
  readonly #send: Send;
  readonly #random: () => number;
  readonly #counters = new Map<string, number>();
  readonly #texts = new Map<string, string | undefined>();
  readonly #lists = new Map<string, string[]>();
  readonly #sets = new Map<string, Set<string>>();
  /** When keys expire, at the earliest and at the latest: the server's time counts from some moment between question and answer. */
  readonly #expiring = new Map<string, { readonly fromMs: number; readonly toMs: number }>();
  #serial = 0;

  constructor(name: string, send: Send, random: () => number) {
    this.#name = name;
    this.#send = send;
    this.#random = random;
  }

  async run(isOver: () => boolean): Promise<WorkloadReport> {
    while (!isOver()) await this.#one();
    await this.#readBack();
    return this.report;
  }

  async #one(): Promise<void> {
    const kind = Math.floor(this.#random() * 6);
    const key = `${this.#name}:${'ctlsxd'[kind]}:${Math.floor(this.#random() * 40)}`;
    switch (kind) {
      case 0: {
        const before = this.#counters.get(key) ?? 0;
        await this.#write(['INCR', key, []], String(before + 1), ['GET', String(before), String(before + 1)], (now) =>
          this.#counters.set(key, Number(now)),
        );
        this.#counters.set(key, this.#counters.get(key) ?? 0);
        break;
      }
      case 1:
      case 5: {
        const before = this.#texts.get(key);
        if (before !== undefined && this.#random() < 0.4) {
          await this.#write(['DEL', key, []], '1', ['GET', before, ''], (now) => this.#texts.set(key, now === '' ? undefined : now));
          break;
        }
        const value = `v${this.#serial++}`;
        if (before !== undefined || this.#random() < 0.5)
          await this.#write(['SET', key, [value]], 'OK', ['GET', before ?? '', value], (now) =>
            this.#texts.set(key, now === '' ? undefined : now),
          );
        else await this.#read('GET', key, [], '');
        break;
      }
      case 2: {
        const list = this.#lists.get(key) ?? [];
        const value = `e${this.#serial++}`;
        const push = list.length < 20;
        const after = push ? [...list, value] : list.slice(1);
        await this.#write(
          push ? ['RPUSH', key, [value]] : ['LPOP', key, []],
          push ? String(after.length) : list[0]!,
          ['LRANGE', list.join(), after.join()],
          (now) => this.#lists.set(key, now === '' ? [] : now.split(',')),
        );
        break;
      }
      case 3: {
        const set = this.#sets.get(key) ?? new Set<string>();
        const member = `m${Math.floor(this.#random() * 30)}`;
        const had = set.has(member);
        const after = new Set(set);
        if (had) after.delete(member);
        else after.add(member);
        await this.#write(
          [had ? 'SREM' : 'SADD', key, [member]],
          '1',
          ['SMEMBERS', [...set].sort().join(), [...after].sort().join()],
          (now) => this.#sets.set(key, new Set(now === '' ? [] : now.split(','))),
        );
        break;
      }
      default: {
        // Alive well before its time, gone well after it: what lies between is the clock's.
        const ends = this.#expiring.get(key);
        const nowMs = Date.now();
        if (ends === undefined || nowMs > ends.toMs + 200) {
          if (ends !== undefined) await this.#read('GET', key, [], '');
          const lifeMs = 300 + Math.floor(this.#random() * 600);
          this.#expiring.delete(key);
          const setMs = Date.now();
          const reply = await this.#try('SET', key, ['x', 'PX', lifeMs], true);
          if (reply !== undefined) this.#expiring.set(key, { fromMs: setMs + lifeMs, toMs: Date.now() + lifeMs });
        } else if (nowMs < ends.fromMs - 250) {
          const reply = await this.#try('GET', key, [], false);
          if (reply !== undefined && textOf(reply) !== 'x' && Date.now() < ends.fromMs - 50)
            this.#wrong(`GET ${key}: gone ${ends.fromMs - Date.now()} ms before its time`);
        }
      }
    }
  }

  async #readBack(): Promise<void> {
    for (const [key, count] of this.#counters) if (count > 0) await this.#read('GET', key, [], String(count));
    for (const [key, text] of this.#texts) await this.#read('GET', key, [], text ?? '');
    for (const [key, list] of this.#lists) await this.#read('LRANGE', key, [0, -1], list.join());
    for (const [key, set] of this.#sets) await this.#read('SMEMBERS', key, [], [...set].sort().join());
  }

  async #read(name: string, key: string, rest: readonly (string | number)[], expected: string): Promise<void> {
    const reply = await this.#try(name, key, rest, false);
    if (reply !== undefined && shown(name, reply) !== expected) this.#wrong(`${name} ${key}: ${shown(name, reply)}, not ${expected}`);
  }

  async #write(
    [name, key, rest]: readonly [string, string, readonly (string | number)[]],
    expected: string,
    [readName, before, after]: readonly [string, string, string],
    learn: (now: string) => void,
  ): Promise<void> {
    const reply = await this.#try(name, key, rest, true);
    if (reply !== undefined) {
      if (textOf(reply) !== expected) this.#wrong(`${name} ${key}: ${textOf(reply)}, not ${expected}`);
      learn(after);
      return;
    }
    for (let tries = 0; tries < 400; tries++) {
      const read = await this.#try(readName, key, readName === 'LRANGE' ? [0, -1] : [], false);
      if (read === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 25));
        continue;
      }
      const now = shown(readName, read);
      const known = now === before || now === after || (name === 'INCR' && before === '0' && now === '');
      if (!known) this.#wrong(`after a lost answer to ${name} ${key}: ${now}, neither ${before} nor ${after}`);
      learn(now);
      return;
    }
    this.#wrong(`${name} ${key}: no answer any more`);
  }

  /** The reply; undefined when the outcome is unknown or nothing was done. */
  async #try(name: string, key: string, rest: readonly (string | number)[], write: boolean): Promise<Reply | undefined> {
    this.report.operations++;
    try {
      const reply = await this.#send(name, key, rest, write);
      if (typeof reply === 'object' && reply !== null && 'kind' in reply && reply.kind === 'error') throw new Error(reply.text);
      return reply;
    } catch {
      this.report.errors++;
      return undefined;
    }
  }

  #wrong(what: string): void {
    if (this.report.wrong.length < 20) this.report.wrong.push(what);
  }
}

function shown(name: string, reply: Reply): string {
  if (!Array.isArray(reply)) return textOf(reply);
  const items = (reply as readonly Reply[]).map((item) => textOf(item));
  return (name === 'SMEMBERS' ? items.sort() : items).join();
}

/** The reply that a client's value came from, as far as the workload looks at it: text may have been a status. */
export function replyOf(value: unknown): Reply {
  if (typeof value === 'string') return { kind: 'status', text: value };
  return Array.isArray(value) ? value.map(replyOf) : ((value ?? null) as Reply);
}
