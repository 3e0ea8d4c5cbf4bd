/**
 * Moves a whole server of a pool to another address, or splits its slots over it and new ones: a clone, then a new map, and for a split the removal of what each side
 * does not own. Every decision is in a journal of its own before it takes effect, but for the one that routers wait for: whether the new servers have taken over is said by a
 * mark on these, as durable as what is written to them next, until the map is kept. So after a crash the owner either undoes what was begun or ends it.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { showCount } from '../../base/units.ts';
import { type PoolServer, showAddress } from '../pool-config.ts';
import type { PoolMap } from '../pool-map.ts';
import { serverNamed } from './asked-change.ts';
import { areMarked, cloneProblems, cloneServer, unfence, unfollow, unmark } from './clone.ts';
import { FENCE_KEY, FENCED_SCRIPT, takenKey } from './guard-scripts.ts';
import { scanKeys } from './move-checks.ts';
import type { MoveEngine } from './move-engine.ts';
import { Journal } from './move-journal.ts';
import { type ServerAddress, ServerLink } from './move-link.ts';
import { evaluate } from './move-script.ts';
import { removeFence } from './move-session.ts';
import { info } from './server-info.ts';

/** A server that is copied, and its copies. */
export interface WholeChange {
  readonly what: 'move' | 'split';
  /** Its name. */
  readonly server: string;
  readonly targets: readonly PoolServer[];
}

/** What a change comes to. */
export interface WholeForecast {
  /** Slots that each server has afterwards. */
  readonly servers: readonly { readonly name: string; readonly slotCount: number }[];
  readonly keys: number;
  readonly bytes: number;
  /** What is in the way. */
  readonly problems: readonly string[];
}

type WholeRecord =
  | ({ readonly kind: 'begin'; readonly id: string } & WholeChange)
  /** The source's `min-replicas-to-write` before. */
  | { readonly kind: 'fencing'; readonly before: string }
  /** The old server goes on, whatever the new ones say. */
  | { readonly kind: 'given up' }
  | { readonly kind: 'end' };

type Begun = Extract<WholeRecord, { kind: 'begin' }>;

/** What is under way, or was last. */
export interface WholeStatus {
  readonly title: string;
  /** What it does now; `done` and `failed` are its last steps. */
  readonly step: string;
  readonly isRunning: boolean;
  /** How long operations were held. */
  readonly pauseMs: number | undefined;
  /** Keys that a split has removed from where they do not belong. */
  readonly trimmedKeys: number;
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

export interface WholeOptions {
  readonly engine: MoveEngine;
  readonly journalPath: string;
  readonly addressOf: (server: PoolServer) => ServerAddress;
}

export class WholeServers {
  readonly #options: WholeOptions;
  readonly #journal: Journal<WholeRecord>;
  readonly #abort = new AbortController();
  #cancel = new AbortController();
  #running: Promise<void> | undefined;
  #status: WholeStatus | undefined;

  private constructor(options: WholeOptions, journal: Journal<WholeRecord>) {
    this.#options = options;
    this.#journal = journal;
  }

  /** Opens the journal; what was under way is undone or ended in the background. @throws KF_JOURNAL_DAMAGED, KF_STORAGE_FAILED. */
  static async open(options: WholeOptions): Promise<WholeServers> {
    const { journal, records } = await Journal.open<WholeRecord>(options.journalPath);
    const whole = new WholeServers(options, journal);
    const begun = records.findLast((record) => record.kind === 'begin');
    if (begun !== undefined && records.at(-1)?.kind !== 'end') {
      const since = records.slice(records.indexOf(begun));
      const fencing = since.find((record) => record.kind === 'fencing');
      const isGivenUp = since.some((record) => record.kind === 'given up');
      whole.#run(begun, () => whole.#recover(begun, fencing?.before, isGivenUp));
    }
    return whole;
  }

  get status(): WholeStatus | undefined {
    return this.#status;
  }

  /**
   * Begins a change, unless it is a dry run; answers what it comes to. A moved server keeps its name and slots; a split one shares its slots with `targets`, each
   * getting as many.
   *
   * @throws KF_POOL_PLAN with what is in the way, but for a dry run; KF_POOL_MOVES_RUNNING.
   */
  async begin(change: WholeChange, dryRun = false): Promise<WholeForecast> {
    const forecast = await this.#forecast(change);
    if (dryRun) return forecast;
    if (forecast.problems.length > 0) throw new KeyfleetError('KF_POOL_PLAN', forecast.problems.join('; '));
    if (this.#running !== undefined) throw new KeyfleetError('KF_POOL_MOVES_RUNNING', `${this.#status?.title} is under way; wait for it`);
    this.#cancel = new AbortController();
    const begun: Begun = { kind: 'begin', id: randomBytes(4).toString('hex'), ...change };
    this.#run(begun, async () => {
      await this.#journal.append(begun);
      await this.#clone(begun);
      await this.#afterwards(begun);
    });
    return forecast;
  }

  /** Takes back what has not taken over yet. @throws KF_POOL_NO_MOVES when nothing is under way. */
  cancel(): void {
    if (this.#running === undefined) throw new KeyfleetError('KF_POOL_NO_MOVES', 'no moves are under way');
    this.#cancel.abort();
  }

  /** Resolves when nothing runs any more. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Stops where it is; the journal says how to go on. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#cancel.abort();
    await this.#running;
    await this.#journal.close();
  }

  async #forecast(change: WholeChange): Promise<WholeForecast> {
    const { engine, addressOf } = this.#options;
    const after = mapAfter(engine.map, change);
    const from = new ServerLink(addressOf(serverNamed(engine.map.servers, change.server)), { name: 'kf:mover' });
    const copies = change.targets.map((target) => new ServerLink(addressOf(target), { name: 'kf:mover' }));
    try {
      const problems = (await Promise.all(copies.map((to) => cloneProblems(from, to)))).flat();
      const facts = await info(from);
      const others = [...facts.keys()].filter((field) => /^db\d+$/.test(field) && field !== `db${from.server.db ?? 0}`);
      if (change.what === 'split' && others.length > 0)
        problems.push(`${change.server} has keys in other databases (${others.join(', ')}), which every part of a split would have`);
      const names = change.what === 'split' ? [change.server, ...change.targets.map(({ name }) => name)] : [change.server];
      return {
        servers: names.map((name) => ({ name, slotCount: after.slotsOf(after.servers.indexOf(serverNamed(after.servers, name))).length })),
        keys: Number(await from.call(['DBSIZE'])),
        bytes: Number(facts.get('used_memory_dataset') ?? 0),
        problems,
      };
    } finally {
      from.close();
      for (const to of copies) to.close();
    }
  }

  /** @throws KF_POOL_MOVES_RUNNING. */
  #run(begun: Begun, work: () => Promise<void>): void {
    const free = this.#options.engine.occupy(titleOf(begun));
    this.#status = {
      title: titleOf(begun),
      step: 'beginning',
      isRunning: true,
      pauseMs: undefined,
      trimmedKeys: 0,
      error: undefined,
    };
    this.#running = work()
      .catch((error: unknown) => {
        if (this.#abort.signal.aborted) return;
        if (!isKeyfleetError(error)) throw error;
        this.#note({ step: 'failed', error: { code: error.code, message: error.message } });
      })
      .finally(() => {
        free();
        this.#running = undefined;
        this.#note({ isRunning: false });
      });
  }

  #note(change: Partial<WholeStatus>): void {
    if (this.#status) this.#status = { ...this.#status, ...change };
  }

  async #clone(begun: Begun): Promise<void> {
    const { engine, addressOf } = this.#options;
    const { map } = engine;
    const index = indexOf(map, begun.server);
    const held = map.withMove({ id: `${map.pool}.clone.${map.epoch}`, from: index, to: index, mode: 'held' }, map.slotsOf(index));
    const after = mapAfter(freed(held), begun);
    try {
      const { pauseMs } = await cloneServer({
        from: addressOf(map.servers[index]!),
        to: begun.targets.map(addressOf),
        keepsServing: begun.what === 'split',
        hold: () => engine.hold(held),
        markKey: takenKey(begun.id),
        take: () => engine.hold(after),
        giveUp: async () => {
          await this.#journal.append({ kind: 'given up' });
          await engine.replaceMap(freed(engine.map));
        },
        onFencing: (before) => this.#journal.append({ kind: 'fencing', before }),
        onStep: (step) => this.#note({ step }),
        signal: this.#cancel.signal,
      });
      this.#note({ pauseMs });
    } catch (error) {
      // A router or server that could not be reached is waited for afterwards.
      if (hasTaken(engine.map, begun) && isKeyfleetError(error) && error.retryable) return;
      // Closed in the middle: the next owner undoes it.
      if (!this.#abort.signal.aborted && !hasTaken(engine.map, begun)) await this.#journal.rewrite([{ kind: 'end' }]);
      throw error;
    }
  }

  /** What a process that died left: undone when the new servers had not taken over, ended when they had. */
  async #recover(begun: Begun, fencedBefore: string | undefined, isGivenUp: boolean): Promise<void> {
    const { engine, addressOf } = this.#options;
    const source = engine.map.servers.find(({ name }) => name === begun.server);
    if (!isGivenUp && fencedBefore !== undefined && !hasTaken(engine.map, begun) && (await this.#isMarked(begun))) {
      const after = mapAfter(engine.map, begun);
      await this.#retried(() => engine.replaceMap(after.atEpoch(laterThanKept(engine.map, begun))));
    }
    const taken = hasTaken(engine.map, begun);
    this.#note({ step: taken ? 'going on after a restart' : 'undoing after a restart' });
    if (source !== undefined && fencedBefore !== undefined && !(taken && begun.what === 'move'))
      await this.#retried(() => unfence(addressOf(source), fencedBefore));
    if (taken) return this.#afterwards(begun);
    await unfollow(begun.targets.map(addressOf));
    await this.#retried(() => engine.replaceMap(freed(engine.map).atEpoch(laterThanKept(engine.map, begun))));
    await this.#journal.rewrite([{ kind: 'end' }]);
    throw new KeyfleetError(
      'KF_POOL_CLONE_FAILED',
      'the owner ended in the middle; the old server serves on. Empty the new ones before another try',
    );
  }

  async #afterwards(begun: Begun): Promise<void> {
    const { engine, addressOf } = this.#options;
    await engine.keep();
    await this.#retried(() => unmark(begun.targets.map(addressOf), takenKey(begun.id)));
    // Every router must have the map of now before keys go.
    await this.#retried(() => engine.republish());
    if (begun.what === 'split') for (const name of [begun.server, ...begun.targets.map((target) => target.name)]) await this.#trim(name);
    await this.#journal.rewrite([{ kind: 'end' }]);
    this.#note({ step: 'done' });
  }

  /** Removes the keys that a server does not own: their owner has them, since it was cut from the same whole. */
  async #trim(name: string): Promise<void> {
    const { engine, addressOf } = this.#options;
    const { map } = engine;
    const index = indexOf(map, name);
    await this.#retried(async () => {
      const link = new ServerLink(addressOf(map.servers[index]!), { name: 'kf:mover' });
      try {
        const token = await engine.fence([link]);
        for await (const page of scanKeys(link, 500)) {
          if (this.#abort.signal.aborted) return;
          const strays = page.filter((key) => map.ownerOf(map.slotOf(key)) !== index);
          if (strays.length > 0) {
            const removed = Number(await evaluate(link, FENCED_SCRIPT, [FENCE_KEY, ...strays], [token, 'UNLINK', ...strays]));
            const trimmedKeys = this.#status!.trimmedKeys + removed;
            this.#note({ trimmedKeys, step: `removing from ${name} what it does not own: ${showCount(trimmedKeys)} keys` });
          }
          await engine.pace.take(0);
        }
        await removeFence(link, token);
      } finally {
        link.close();
      }
    });
    if (this.#abort.signal.aborted) throw new KeyfleetError('KF_CLOSED', 'the owner ends');
  }

  /** Whether the new servers had taken over when the owner died: asked of them until they answer, or somebody cancels and lets the old one serve on. */
  async #isMarked({ id, targets }: Begun): Promise<boolean> {
    let isMarked = false;
    await this.#retried(async () => {
      if (!this.#cancel.signal.aborted) isMarked = await areMarked(targets.map(this.#options.addressOf), takenKey(id));
    });
    return isMarked;
  }

  async #retried(work: () => Promise<void>): Promise<void> {
    for (let waitMs = 50; ; waitMs = Math.min(2_000, waitMs * 2)) {
      this.#abort.signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        if (!isKeyfleetError(error) || !error.retryable) throw error;
        this.#note({ step: `${error.code}: ${error.message}` });
        await sleep(waitMs);
      }
    }
  }
}

/** The map after a split: the server's slots dealt in turn to it and to `targets`. @throws KF_POOL_PLAN. */
export function splitMap(map: PoolMap, server: string, targets: readonly PoolServer[]): PoolMap {
  const index = indexOf(map, server);
  for (const [at, { name }] of targets.entries())
    if (map.servers.some((one) => one.name === name) || targets.findIndex((one) => one.name === name) !== at)
      throw new KeyfleetError('KF_POOL_PLAN', `the pool has a server ${name} already`);
  const slots = map.slotsOf(index);
  const parts = targets.length + 1;
  if (targets.length === 0) throw new KeyfleetError('KF_POOL_PLAN', 'a split needs a new server');
  if (slots.length < parts)
    throw new KeyfleetError(
      'KF_POOL_PLAN',
      `${server} has ${showCount(slots.length)} slot(s), which cannot be split in ${parts}; ${map.scheme.json.kind === 'ranges' ? 'write finer ranges into the file and give `keyfleet pool apply FILE`' : 'add a server instead'}`,
    );
  let after = map.withServersByName([...map.servers, ...targets]);
  for (const [at] of targets.entries())
    after = after.withOwner(
      slots.filter((_, place) => place % parts === at + 1),
      map.servers.length + at,
    );
  return after;
}

function mapAfter(map: PoolMap, { what, server, targets }: WholeChange): PoolMap {
  return what === 'split' ? splitMap(map, server, targets) : map.withServersByName(map.servers.with(indexOf(map, server), targets[0]!));
}

/** Without the hold of a clone. */
function freed(map: PoolMap): PoolMap {
  return map.moves.reduce((now, { id }) => now.withoutMove(id, false), map);
}

/** An epoch above those of the hold and of the map after it, which routers may have though neither was kept. */
function laterThanKept(map: PoolMap, begun: Begun): number {
  return mapAfter(map, begun).epoch + 3;
}

function hasTaken(map: PoolMap, { targets }: Begun): boolean {
  return targets.every((target) =>
    map.servers.some(({ name, address }) => name === target.name && JSON.stringify(address) === JSON.stringify(target.address)),
  );
}

function indexOf(map: PoolMap, name: string): number {
  return map.servers.indexOf(serverNamed(map.servers, name));
}

function titleOf({ what, server, targets }: WholeChange): string {
  const to = targets.map(({ name, address }) => (what === 'move' ? showAddress(address) : name)).join(', ');
  return what === 'move' ? `move ${server} to ${to}` : `split ${server} over itself and ${to}`;
}
