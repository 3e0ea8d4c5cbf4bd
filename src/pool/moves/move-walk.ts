/**
 * The fenced key walk from one server to others: every key that `targetOf` names a target for is locked at the source, put at its target and removed at the
 * source, so that at each moment one server answers for it. What stands here runs between FENCE and CHECK of docs/protocol/pool-moves.md.
 */
import { assert } from '../../base/assert.ts';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import {
  busyKey,
  COMMIT_SCRIPT,
  FENCE_KEY,
  FENCED_SCRIPT,
  guardScript,
  isReservedKey,
  LOCK_SCRIPT,
  OPEN_SCRIPT,
  openKey,
  PUT_SCRIPT,
  partPrefix,
} from './guard-scripts.ts';
import type { PutDone } from './move-forget.ts';
import type { Journal } from './move-journal.ts';
import { bytesList, type ServerLink, showAddress, textOf } from './move-link.ts';
import type { MovePace } from './move-pace.ts';
import { copyByPages } from './move-pages.ts';
import { evaluate } from './move-script.ts';
import { ReplicaConfirmations } from './replica-confirmations.ts';
import { showKey } from './show-key.ts';
import { compareKeys, type Difference, differenceError } from './value-compare.ts';

export interface WalkLimits {
  /** Keys locked at once in one batch. */
  readonly batchKeys: number;
  /** Batches under way at once. */
  readonly batches: number;
  /** A batch locks no further keys beyond so many bytes. */
  readonly batchBytes: number;
  /** Larger values are copied piece by piece. */
  readonly largeBytes: number;
  readonly largeElements: number;
  /** Larger values stop the walk, since their writers would wait too long. */
  readonly mostBytes: number;
  /** Copy every key by its type, never by DUMP. */
  readonly byType: boolean;
  /** The share of keys, from 0 to 1, that are read back from the target and compared before they leave the source. */
  readonly checkShare: number;
}

export const DEFAULT_LIMITS: WalkLimits = {
  batchKeys: 50,
  batches: 4,
  batchBytes: 1024 * 1024,
  largeBytes: 1024 * 1024,
  largeElements: 5_000,
  mostBytes: 512 * 1024 * 1024,
  byType: false,
  checkShare: 0.01,
};

export interface WalkOptions {
  readonly moveId: string;
  /** `n:random`. */
  readonly token: string;
  readonly from: ServerLink;
  /** The server a key goes to; undefined for one that stays. */
  readonly targetOf: (key: Bytes) => ServerLink | undefined;
  /** Those of now: they may change while it walks. */
  readonly limits: () => WalkLimits;
  readonly pace: MovePace;
  readonly putDone: Journal<PutDone>;
  /** Looked at between batches; rejects to end the walk. */
  readonly gate: () => Promise<void> | undefined;
  readonly onMoved: (keys: number, bytes: number) => void;
}

export class KeyWalk {
  readonly #options: WalkOptions;
  /** Keys under way here, as Latin-1, so that no key is moved twice at a time. */
  readonly #underWay = new Map<string, Promise<void>>();
  #parts = 0;
  /** Grows by `checkShare` with every key; past 1 a key is checked. */
  #checkDebt = 0;
  /** What had begun is finished, whatever is wished meanwhile. */
  #redoing = false;
  readonly #replicas = new ReplicaConfirmations();

  constructor(options: WalkOptions) {
    this.#options = options;
  }

  /** From here on, keys missing at the source are looked for at their targets. */
  async open(): Promise<void> {
    const { from, moveId, token } = this.#options;
    await evaluate(from, OPEN_SCRIPT, [FENCE_KEY, openKey(moveId)], [token]);
    await from.call(['SCRIPT', 'LOAD', guardScript(moveId).text]);
  }

  /** Whether routers can work at the source: it has not restarted since {@link open}. */
  async isOpen(): Promise<boolean> {
    const { from, moveId } = this.#options;
    const [loaded] = (await from.call(['SCRIPT', 'EXISTS', guardScript(moveId).sha])) as readonly Reply[];
    return loaded === 1;
  }

  /** Moves again, from the lock on, what a mover before this one had begun. */
  async redo(): Promise<void> {
    const { from, moveId } = this.#options;
    this.#redoing = true;
    for (;;) {
      const [, found] = (await from.call(['SSCAN', busyKey(moveId), '0', 'COUNT', '1000'])) as readonly Reply[];
      const keys = bytesList(found!).filter((key) => key !== undefined);
      if (keys.length === 0) break;
      await this.#moveAll(keys);
    }
    this.#redoing = false;
  }

  /** Lets the writers of every key that is on its way go on at the source; for a walk that ends before it is done, once nobody pulls any more. */
  async release(): Promise<void> {
    const { from, moveId } = this.#options;
    await Promise.all(this.#underWay.values());
    const keys = bytesList(await from.call(['SMEMBERS', busyKey(moveId)])).filter((key) => key !== undefined);
    if (keys.length > 0) await this.#takeBack(keys);
  }

  /** One pass over the source: moves every key that has a target. */
  async walk(): Promise<void> {
    const { batchKeys, batches } = this.#options.limits();
    const running = new Set<Promise<void>>();
    let failure: { readonly error: unknown } | undefined;
    let found: Bytes[] = [];
    const start = async (keys: Bytes[]): Promise<void> => {
      while (running.size >= batches) await Promise.race(running);
      if (failure) return;
      const batch: Promise<void> = this.#moveAll(keys)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => running.delete(batch));
      running.add(batch);
    };
    try {
      for await (const keys of this.#scan()) {
        if (failure) break;
        found.push(...keys);
        while (found.length >= batchKeys) {
          await start(found.slice(0, batchKeys));
          found = found.slice(batchKeys);
        }
      }
      if (found.length > 0) await start(found);
    } finally {
      // Nothing of this walk is under way when the next begins.
      await Promise.all(running);
    }
    if (failure) throw failure.error;
  }

  /** A second pass: the number of keys that still stand at the source, busy ones included. */
  async left(): Promise<number> {
    let count = 0;
    for await (const keys of this.#scan()) count += keys.length;
    return count + Number(await this.#options.from.call(['SCARD', busyKey(this.#options.moveId)]));
  }

  /** Waits until the replicas of the source know what has left it. @throws KF_POOL_SERVER_LOST while one does not confirm. */
  async confirmLeft(): Promise<void> {
    const { from } = this.#options;
    const missing = await this.#replicas.missing(from);
    if (missing !== undefined)
      throw new KeyfleetError('KF_POOL_SERVER_LOST', `${missing} replicas of ${showAddress(from.server)} confirm what has left it`, {
        retryable: true,
      });
  }

  /** Moves these keys now, for a router whose command has some at the source and some at the target. */
  async pull(keys: readonly Bytes[]): Promise<void> {
    const wanted = keys.filter((key) => this.#options.targetOf(key) !== undefined);
    if (wanted.length > 0) await this.#moveAll(wanted);
  }

  /** Takes the reserved keys of a move off its source, and what is left of half-copied values off its target. */
  static async clean(from: ServerLink, to: ServerLink, moveId: string, token: string): Promise<void> {
    const keys = [busyKey(moveId), openKey(moveId)];
    await evaluate(from, FENCED_SCRIPT, [FENCE_KEY, ...keys], [token, 'UNLINK', ...keys]);
    let cursor = '0';
    do {
      const [next, page] = (await to.call(['SCAN', cursor, 'MATCH', `${partPrefix(moveId)}*`, 'COUNT', '1000'])) as readonly Reply[];
      cursor = textOf(next);
      const parts = bytesList(page!).filter((key) => key !== undefined) as Bytes[];
      if (parts.length > 0) await evaluate(to, FENCED_SCRIPT, [FENCE_KEY, ...parts], [token, 'UNLINK', ...parts]);
    } while (cursor !== '0');
  }

  /** Keys with a target, a page of SCAN at a time. */
  async *#scan(): AsyncGenerator<Bytes[]> {
    const { from, targetOf, gate } = this.#options;
    let cursor = '0';
    do {
      await gate();
      const [next, page] = (await from.call(['SCAN', cursor, 'COUNT', '500'])) as readonly Reply[];
      cursor = textOf(next);
      const keys = bytesList(page!).filter((key) => key !== undefined && !isReservedKey(key) && targetOf(key) !== undefined);
      if (keys.length > 0) yield keys as Bytes[];
    } while (cursor !== '0');
  }

  async #moveAll(keys: readonly Bytes[]): Promise<void> {
    const mine: Bytes[] = [];
    const others: Promise<void>[] = [];
    let settle: () => void = () => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    for (const key of keys) {
      const name = nameOf(key);
      const running = this.#underWay.get(name);
      if (running !== undefined) others.push(running);
      else {
        this.#underWay.set(name, settled);
        mine.push(key);
      }
    }
    try {
      for (let at = 0; at < mine.length; ) {
        if (!this.#redoing) await this.#options.gate();
        at += await this.#moveBatch(mine.slice(at, at + this.#options.limits().batchKeys));
      }
    } finally {
      for (const key of mine) this.#underWay.delete(nameOf(key));
      settle();
    }
    await Promise.all(others);
  }

  /** Moves the first keys of these, at least one; returns how many. */
  async #moveBatch(keys: readonly Bytes[]): Promise<number> {
    const { from, pace } = this.#options;
    const limits = this.#options.limits();
    const answers = await this.#lock(keys, limits.byType);
    const dumps = new Map<ServerLink, { keys: Bytes[]; args: (string | number | Bytes)[] }>();
    const done: Bytes[] = [];
    let bytes = 0;
    let tooLarge: { readonly key: Bytes; readonly bytes: number } | undefined;
    for (const [index, answer] of answers.entries()) {
      const key = keys[index]!;
      const kind = textOf(answer[0]);
      if (kind === 'over') tooLarge = { key, bytes: Number(answer[1]) };
      if (kind === 'page') {
        bytes += await this.#page(key, answer);
        done.push(key);
      }
      if (kind !== 'dump') continue;
      const to = this.#target(key);
      let group = dumps.get(to);
      if (group === undefined) dumps.set(to, (group = { keys: [], args: [] }));
      const payload = answer[2] as Bytes;
      group.keys.push(key);
      group.args.push(Number(answer[1]), payload);
      bytes += payload.length;
    }
    for (const [to, group] of dumps) done.push(...(await this.#put(to, group.keys, group.args)));
    await this.#replicate(done);
    const wrong = await this.#check(done);
    const good = done.filter((key) => !wrong.has(key));
    if (good.length > 0) await this.#commit(good, bytes);
    for (const [key, difference] of wrong)
      throw differenceError(showKey(key), difference, `${showAddress(from.server)} and ${showAddress(this.#target(key).server)}`);
    if (tooLarge)
      throw new KeyfleetError(
        'KF_POOL_KEY_TOO_LARGE',
        `${showKey(tooLarge.key)} has ${tooLarge.bytes} bytes; moving it would stop its writers too long. Raise the limit (${limits.mostBytes}) or take it apart, then resume`,
      );
    await pace.take(bytes);
    return answers.length;
  }

  async #lock(keys: readonly Bytes[], byType: boolean): Promise<readonly (readonly Reply[])[]> {
    const { from, moveId, token } = this.#options;
    const limits = this.#options.limits();
    return (await evaluate(
      from,
      LOCK_SCRIPT,
      [FENCE_KEY, busyKey(moveId), ...keys],
      [token, limits.batchBytes, limits.largeBytes, limits.largeElements, limits.mostBytes, byType ? 1 : 0],
    )) as readonly (readonly Reply[])[];
  }

  async #put(to: ServerLink, keys: readonly Bytes[], args: readonly (string | number | Bytes)[]): Promise<Bytes[]> {
    const answers = (await evaluate(to, PUT_SCRIPT, [FENCE_KEY, ...keys], [this.#options.token, ...args])) as readonly Reply[];
    const done: Bytes[] = [];
    let refusal: { readonly key: Bytes; readonly text: string } | undefined;
    for (const [index, answer] of answers.entries()) {
      const key = keys[index]!;
      const text = textOf(answer);
      if (text === '') done.push(key);
      else if (/DUMP payload version|Bad data format/i.test(text)) {
        const [again] = await this.#lock([key], true);
        if (again !== undefined && textOf(again[0]) === 'page') await this.#page(key, again);
        else refusal = { key, text };
        if (refusal?.key !== key) done.push(key);
      } else refusal = { key, text };
      // An earlier try may have left a copy there.
      if (refusal?.key === key) await this.#takeBack([key]);
    }
    if (refusal !== undefined) {
      await this.#replicate(done);
      if (done.length > 0) await this.#commit(done, 0);
      throw new KeyfleetError('KF_POOL_PUT_REFUSED', `${showAddress(to.server)} does not take ${showKey(refusal.key)}: ${refusal.text}`);
    }
    return done;
  }

  /**
   * Waits until the replicas of the targets have what was put there, since one of them may have to take over when the source has it no more. While one does not confirm, the
   * keys stay at the source, and their writers go on there.
   *
   * @throws KF_POOL_SERVER_LOST.
   */
  async #replicate(keys: readonly Bytes[]): Promise<void> {
    for (const to of new Set(keys.map((key) => this.#target(key)))) {
      const missing = await this.#replicas.missing(to);
      if (missing === undefined) continue;
      await this.#takeBack(keys);
      throw new KeyfleetError(
        'KF_POOL_SERVER_LOST',
        `${missing} replicas of ${showAddress(to.server)} confirm what has moved there; its keys stay until all do`,
        { retryable: true },
      );
    }
  }

  /** Compares some of the keys that were put with what the source has; those that differ go from the target again, stay at the source, and are answered. */
  async #check(keys: readonly Bytes[]): Promise<Map<Bytes, Difference>> {
    const { from } = this.#options;
    const { checkShare } = this.#options.limits();
    const chosen = keys.filter(() => {
      this.#checkDebt += checkShare;
      if (this.#checkDebt < 1) return false;
      this.#checkDebt -= 1;
      return true;
    });
    const wrong = new Map<Bytes, Difference>();
    for (const to of new Set(chosen.map((key) => this.#target(key)))) {
      const some = chosen.filter((key) => this.#target(key) === to);
      for (const [index, difference] of (await compareKeys(from, to, some)).entries()) {
        if (difference === undefined) continue;
        const key = some[index]!;
        await this.#takeBack([key]);
        wrong.set(key, difference);
      }
    }
    return wrong;
  }

  async #commit(keys: readonly Bytes[], bytes: number): Promise<void> {
    const { from, moveId, token, putDone, onMoved } = this.#options;
    await putDone.append({ keys: keys.map(base64Of) });
    onMoved(Number(await evaluate(from, COMMIT_SCRIPT, [FENCE_KEY, busyKey(moveId), ...keys], [token])), bytes);
  }

  /** What was put goes from the target again, and the keys' writers go on at the source. */
  async #takeBack(keys: readonly Bytes[]): Promise<void> {
    const { from, moveId, token, putDone } = this.#options;
    for (const key of keys) await evaluate(this.#target(key), FENCED_SCRIPT, [FENCE_KEY, key], [token, 'UNLINK', key]);
    // A mover before this one may have written down that they were leaving.
    await putDone.append({ keys: keys.map(base64Of), stay: true });
    await evaluate(from, FENCED_SCRIPT, [FENCE_KEY, busyKey(moveId)], [token, 'SREM', busyKey(moveId), ...keys]);
  }

  async #page(key: Bytes, answer: readonly Reply[]): Promise<number> {
    const { from, moveId, token, pace } = this.#options;
    let bytes = 0;
    await copyByPages(
      from,
      this.#target(key),
      { key, type: textOf(answer[2]), elements: Number(answer[3]), expiresAtMs: Number(answer[1]) },
      {
        token,
        partKey: `${partPrefix(moveId)}${this.#parts++}`,
        onBytes: (count) => {
          bytes += count;
        },
      },
    );
    pace.note();
    return bytes;
  }

  #target(key: Bytes): ServerLink {
    const to = this.#options.targetOf(key);
    assert(to !== undefined, () => `${showKey(key)} was locked but has no target`);
    return to;
  }
}

function base64Of(key: Bytes): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('base64');
}

function nameOf(key: Bytes): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}
