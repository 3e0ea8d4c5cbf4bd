/**
 * Moves keys between live servers, as docs/protocol/pool-moves.md says: one move after the other, each through the fenced key walk, with every decision in the journal before
 * it takes effect. After a crash the next engine over the same journal goes on where this one was.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../base/assert.ts';
import type { Bytes } from '../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
import { FENCE_KEY, FENCE_SCRIPT, FENCED_SCRIPT } from './guard-scripts.ts';
import { returningId } from './guarded-commands.ts';
import { dropStrays, forecastMove, info, type MoveForecast } from './move-checks.ts';
import { Journal } from './move-journal.ts';
import { ServerLink, textOf } from './move-link.ts';
import { mapOfJournal, slotsOfPlan } from './move-map.ts';
import type { MoveEngineOptions } from './move-options.ts';
import { MovePace } from './move-pace.ts';
import { type ChangePlan, movingIn } from './move-plan.ts';
import { type JournalView, type MoveRecord, type MoveState, type PlannedMove, viewOf, type Wish } from './move-records.ts';
import { evaluate } from './move-script.ts';
import { MoveMeter, type MoveStatus } from './move-status.ts';
import { DEFAULT_LIMITS, KeyWalk, type PutDone, type WalkLimits } from './move-walk.ts';
import type { PoolMap } from './pool-map.ts';

/** Ends a walk because somebody wished it. */
class Interrupted extends Error {}

export class MoveEngine {
  readonly #options: MoveEngineOptions;
  readonly #journal: Journal<MoveRecord>;
  readonly #view: { -readonly [K in keyof JournalView]: JournalView[K] };
  readonly #changed = new EventEmitter().setMaxListeners(0);
  readonly pace: MovePace;
  limits: WalkLimits;
  #map: PoolMap;
  #running: Promise<void> | undefined;
  #walker: KeyWalk | undefined;
  #lost: KeyfleetError | undefined;
  #trouble: KeyfleetError | undefined;
  #stopped: KeyfleetError | undefined;
  #closed = false;
  #meter = new MoveMeter();

  private constructor(options: MoveEngineOptions, journal: Journal<MoveRecord>, view: JournalView) {
    this.#options = options;
    this.#journal = journal;
    this.#view = view;
    this.#map = view.plan === undefined ? options.map : mapOfJournal(options.config, options.map, view);
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.pace = new MovePace(options.pace ?? {}, () => this.#options.routers.foregroundP99Ms?.());
  }

  /** Opens the journal, and goes on with what it says was under way. @throws KF_JOURNAL_DAMAGED, KF_STORAGE_FAILED. */
  static async open(options: MoveEngineOptions): Promise<MoveEngine> {
    const { journal, records } = await Journal.open<MoveRecord>(options.journalPath);
    const engine = new MoveEngine(options, journal, viewOf(records));
    if (engine.#view.plan !== undefined) engine.#start();
    return engine;
  }

  /** The map that routers are to go by. */
  get map(): PoolMap {
    return this.#map;
  }

  /** Puts another map in force while no moves run, as a clone does. @throws KF_POOL_MOVES_RUNNING. */
  async replaceMap(map: PoolMap): Promise<void> {
    if (this.#view.plan !== undefined) throw movesRunning();
    this.#map = map;
    await this.#save(map);
    await this.#options.routers.publish(map);
  }

  /** What each move of a plan would be: a dry run. */
  async forecast(plan: ChangePlan): Promise<(PlannedMove & MoveForecast)[]> {
    const forecasts: (PlannedMove & MoveForecast)[] = [];
    for (const move of plan.moves) {
      const [from, to] = [this.#link(plan.start, move.from), this.#link(plan.start, move.to)];
      try {
        forecasts.push({ ...move, ...(await forecastMove(from, to, movingIn(plan.start, plan.slotsOf(move)))) });
      } finally {
        from.close();
        to.close();
      }
    }
    return forecasts;
  }

  /** Begins the moves of a plan; resolves once it is in the journal. @throws KF_POOL_MOVES_RUNNING; KF_POOL_PLAN with what a forecast found. */
  async start(plan: ChangePlan, options: { readonly dropStrays?: boolean } = {}): Promise<void> {
    if (this.#view.plan !== undefined) throw movesRunning();
    if (plan.base !== this.#map.epoch)
      throw new KeyfleetError('KF_POOL_PLAN', 'the pool has changed since the plan was made; make it anew', { retryable: true });
    const { dropStrays: drop = false } = options;
    for (const { from, to, problems } of await this.forecast(plan)) {
      const left = drop ? problems.filter((problem) => !problem.includes('already holds')) : problems;
      if (left.length > 0) throw new KeyfleetError('KF_POOL_PLAN', `${from} to ${to}: ${left.join('; ')}`);
    }
    if (this.#view.plan !== undefined) throw movesRunning();
    const record: MoveRecord = {
      kind: 'plan',
      id: randomBytes(4).toString('hex'),
      atMs: Date.now(),
      title: plan.title,
      start: plan.start.toJson(),
      target: plan.target.toJson(),
      serversBefore: this.#map.servers.map(({ name }) => name),
      serversAfter: plan.serversAfter,
      moves: plan.moves,
      dropStrays: drop,
    };
    await this.#append(record);
    this.#map = plan.start.atEpoch(this.#map.epoch + 1);
    this.#meter = new MoveMeter();
    this.#stopped = undefined;
    this.#start();
  }

  async pause(): Promise<void> {
    await this.#wish('pause');
  }

  /** Goes on after a pause, or after an error that ended the run. */
  async resume(): Promise<void> {
    await this.#wish('run');
    if (this.#running === undefined && this.#view.plan !== undefined) this.#start();
  }

  /** The move that is under way goes back, those that have not begun do not begin; what has moved stays moved. */
  async cancel(): Promise<void> {
    await this.#wish('cancel');
    if (this.#running === undefined && this.#view.plan !== undefined) this.#start();
  }

  /** Resolves when nothing runs any more. @throws what ended the run. */
  async settled(): Promise<void> {
    await this.#running;
    if (this.#stopped) throw this.#stopped;
  }

  /** For routers: brings keys to the side that owns them next. @throws KF_POOL_MOVING, retryable, while no walk runs. */
  async pull(moveId: string, keys: readonly Bytes[]): Promise<void> {
    const walker = this.#walker;
    if (walker === undefined || !this.#map.moves.some(({ id }) => id === moveId))
      throw new KeyfleetError('KF_POOL_MOVING', 'the mover is not ready', { retryable: true });
    await walker.pull(keys);
  }

  status(): MoveStatus {
    const { plan, states, wish } = this.#view;
    const moves = (plan?.moves ?? []).map((move) => ({ ...move, state: states.get(move.id) ?? 'pending' }));
    const done = moves.filter(({ state }) => state === 'done' || state === 'after');
    const trouble = this.#stopped ?? this.#trouble;
    const active = { run: 'running', pause: 'paused', cancel: 'cancelling' } as const;
    return {
      state: plan === undefined ? 'idle' : this.#stopped ? 'stopped' : active[wish],
      title: plan?.title,
      moves,
      slotsDone: done.reduce((sum, { slotCount }) => sum + slotCount, 0),
      slotsTotal: moves.reduce((sum, { slotCount }) => sum + slotCount, 0),
      ...this.#meter.read(),
      foregroundP99Ms: this.#options.routers.foregroundP99Ms?.(),
      pauseMs: this.pace.pauseMs,
      trouble: trouble === undefined ? undefined : `${trouble.code}: ${trouble.message}`,
      epoch: this.#map.epoch,
    };
  }

  /** Stops where it is, without a word to the servers; the journal says how to go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#changed.emit('change');
    await this.#running;
    await this.#journal.close();
  }

  async #wish(wish: Wish): Promise<void> {
    if (this.#view.plan === undefined) throw new KeyfleetError('KF_POOL_NO_MOVES', 'no moves are under way');
    if (this.#view.wish === 'cancel' && wish !== 'cancel')
      throw new KeyfleetError('KF_POOL_MOVES_RUNNING', 'the moves are being cancelled, which cannot be taken back');
    await this.#append({ kind: 'wish', wish });
    this.#view.wish = wish;
    this.#changed.emit('change');
  }

  #start(): void {
    this.#stopped = undefined;
    this.#running = this.#run()
      .catch((error: unknown) => {
        if (error instanceof Interrupted) return;
        if (!isKeyfleetError(error)) throw error;
        this.#stopped = error;
        this.#options.onEvent?.({ kind: 'trouble', error });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #run(): Promise<void> {
    const { plan, states } = this.#view;
    assert(plan !== undefined, () => 'there is a plan to run');
    await this.#save(this.#map);
    await this.#options.routers.publish(this.#map);
    for (const move of plan.moves) {
      while (!['done', 'cancelled'].includes(states.get(move.id)!)) {
        if (this.#closed) throw new Interrupted();
        await this.#step(plan, move, states.get(move.id)!);
      }
    }
    const cancelled = plan.moves.some(({ id }) => states.get(id) === 'cancelled');
    await this.#unfence(plan);
    const owning = new Set(this.#map.servers.filter((_, index) => this.#map.slotsOf(index).length > 0));
    const last = this.#map.withServersByName(
      cancelled ? this.#map.servers.filter((server) => plan.serversBefore.includes(server.name) || owning.has(server)) : plan.serversAfter,
    );
    this.#map = last;
    await this.#save(last);
    await this.#options.routers.publish(last);
    this.#view.plan = undefined;
    await this.#journal.rewrite([
      { kind: 'token', number: this.#view.tokenNumber },
      { kind: 'end', outcome: cancelled ? 'cancelled' : 'done' },
    ]);
    this.#changed.emit('change');
  }

  async #step(plan: NonNullable<JournalView['plan']>, move: PlannedMove, state: MoveState): Promise<void> {
    const cancelling = this.#view.wish === 'cancel';
    switch (state) {
      case 'pending': {
        if (cancelling) return this.#enter(move, 'cancelled');
        await this.#gate();
        const forecast = await this.#withLinks(move, async (from, to) => {
          const moving = movingIn(this.#map, this.#slotsOf(plan, move));
          if (plan.dropStrays) await dropStrays(to, moving);
          return forecastMove(from, to, moving);
        });
        if (forecast.problems.length > 0)
          throw new KeyfleetError('KF_POOL_PLAN', `${move.from} to ${move.to}: ${forecast.problems.join('; ')}`);
        this.#meter.expect(forecast.keys);
        if (forecast.byType) this.limits = { ...this.limits, byType: true };
        return this.#enter(move, 'guarded', this.#withMode(plan, move, 'guarded'));
      }
      case 'guarded': {
        const outcome = cancelling ? 'cancel' : await this.#session(move, false, (walk) => this.#walkAll(walk));
        if (outcome === 'cancel') return this.#enter(move, 'held', this.#withMode(plan, move, 'held'));
        return this.#enter(move, 'after', this.#map.withoutMove(move.id, true));
      }
      case 'after':
        await this.#cleanUp(move, false);
        return this.#enter(move, 'done');
      case 'held':
        // What was half copied arrives first: from then on every key is on exactly one side.
        await this.#session(move, false, async () => {});
        await this.#cleanUp(move, false);
        await this.#session(move, true, async () => {});
        return this.#enter(move, 'returning', this.#withMode(plan, move, 'returning'));
      case 'returning':
        await this.#session(move, true, (walk) => this.#walkAll(walk));
        return this.#enter(move, 'before', this.#map.withoutMove(move.id, false));
      case 'before':
        await this.#cleanUp(move, true);
        return this.#enter(move, 'cancelled');
      default:
        return;
    }
  }

  /** Writes down, keeps, publishes: in this order. */
  async #enter(move: PlannedMove, state: MoveState, map: PoolMap = this.#map): Promise<void> {
    await this.#append({ kind: 'state', move: move.id, state });
    this.#view.states.set(move.id, state);
    this.#options.onEvent?.({ kind: 'state', move: move.id, state });
    if (map === this.#map) return;
    this.#map = map;
    await this.#save(map);
    await this.#options.routers.publish(map);
    this.#options.onEvent?.({ kind: 'step', move: move.id, step: `${state} published` });
  }

  async #walkAll(walk: KeyWalk): Promise<void> {
    do {
      await walk.walk();
    } while ((await walk.left()) > 0);
  }

  /**
   * Takes a new token on the target and then on the source, redoes what was busy, opens the move and does `work`; all again when a server was lost meanwhile. Answers
   * 'cancel' when that was wished before the work was done.
   */
  async #session(move: PlannedMove, back: boolean, work: (walk: KeyWalk) => Promise<void>): Promise<'done' | 'cancel'> {
    const id = back ? returningId(move.id) : move.id;
    for (let waitMs = 50; ; waitMs = Math.min(2_000, waitMs * 2)) {
      if (this.#closed) throw new Interrupted();
      const [from, to] = [this.#link(this.#map, back ? move.to : move.from), this.#link(this.#map, back ? move.from : move.to)];
      const { journal: putDone, records } = await Journal.open<PutDone>(`${this.#options.journalPath}.${id}`);
      let tending: NodeJS.Timeout | undefined;
      try {
        this.#lost = undefined;
        const token = await this.#fence(to, from);
        const moving = movingIn(this.#map, this.#map.slotsOfMove(move.id));
        const walk = new KeyWalk({
          moveId: id,
          token,
          from,
          targetOf: (key) => (moving(key) ? to : undefined),
          limits: this.limits,
          pace: this.pace,
          putDone,
          gate: () => this.#gate(back),
          onMoved: (keys, bytes) => this.#meter.count(keys, bytes),
        });
        await this.#reconcile(id, from, token, records);
        // What was begun is finished even while paused or cancelled.
        await walk.redo();
        await walk.open();
        this.#options.onEvent?.({ kind: 'step', move: move.id, step: back ? 'opened backwards' : 'opened' });
        this.#walker = walk;
        this.#trouble = undefined;
        tending = setInterval(() => void this.#tend(walk), 300).unref();
        await work(walk);
        return 'done';
      } catch (error) {
        if (error instanceof Interrupted) {
          if (this.#closed || back) throw error;
          return 'cancel';
        }
        if (!isKeyfleetError(error) || !error.retryable) throw error;
        this.#trouble = error;
        this.#options.onEvent?.({ kind: 'trouble', error });
        await sleep(waitMs);
      } finally {
        this.#walker = undefined;
        clearInterval(tending);
        from.close();
        to.close();
        await putDone.close();
      }
    }
  }

  /** Sees whether the source is still the process that the guard stands on. */
  async #tend(walk: KeyWalk): Promise<void> {
    const open = await walk.isOpen().catch(() => false);
    if (open || this.#walker !== walk) return;
    this.#lost ??= new KeyfleetError('KF_POOL_SERVER_LOST', 'the source restarted inside a move', { retryable: true });
    this.#changed.emit('change');
  }

  async #fence(to: ServerLink, from: ServerLink): Promise<string> {
    for (let tries = 0; tries < 10; tries++) {
      const number = this.#view.tokenNumber + 1;
      await this.#append({ kind: 'token', number });
      this.#view.tokenNumber = number;
      const token = `${number}:${randomBytes(6).toString('hex')}`;
      let standing = token;
      for (const link of [to, from]) {
        standing = textOf(await evaluate(link, FENCE_SCRIPT, [FENCE_KEY], [token]));
        if (standing !== token) break;
      }
      if (standing === token) return token;
      this.#view.tokenNumber = Math.max(number, Number.parseInt(standing, 10));
    }
    throw new KeyfleetError('KF_POOL_FENCED', 'another mover takes the same servers again and again');
  }

  /** A source that is another process than it was may have come back with keys that are gone from there: they stand at the target. */
  async #reconcile(id: string, from: ServerLink, token: string, putDone: readonly PutDone[]): Promise<void> {
    const runId = (await info(from)).get('run_id') ?? '';
    const before = this.#view.runIds.get(id);
    if (before === runId) return;
    if (before !== undefined)
      for (const { keys } of putDone) {
        const names = keys.map((key) => Buffer.from(key, 'base64'));
        for (let at = 0; at < names.length; at += 500) {
          const some = names.slice(at, at + 500);
          await evaluate(from, FENCED_SCRIPT, [FENCE_KEY, ...some], [token, 'UNLINK', ...some]);
        }
      }
    await this.#append({ kind: 'source', move: id, runId });
    this.#view.runIds.set(id, runId);
  }

  /** Takes our keys of this move off both servers. */
  async #cleanUp(move: PlannedMove, back: boolean): Promise<void> {
    const id = back ? returningId(move.id) : move.id;
    await this.#retried(async () => {
      const [from, to] = [this.#link(this.#map, back ? move.to : move.from), this.#link(this.#map, back ? move.from : move.to)];
      try {
        const token = await this.#fence(to, from);
        await KeyWalk.clean(from, to, id, token);
      } finally {
        from.close();
        to.close();
      }
    });
    const { journal } = await Journal.open<PutDone>(`${this.#options.journalPath}.${id}`);
    await journal.remove();
  }

  /** The fences go when all moves are over; a late packet of a mover finds none that is its own. */
  async #unfence(plan: NonNullable<JournalView['plan']>): Promise<void> {
    const names = new Set(plan.moves.flatMap(({ from, to }) => [from, to]));
    for (const name of names)
      await this.#retried(async () => {
        const link = this.#link(this.#map, name);
        try {
          await link.call(['UNLINK', FENCE_KEY]);
        } finally {
          link.close();
        }
      });
  }

  async #retried(work: () => Promise<void>): Promise<void> {
    for (let waitMs = 50; ; waitMs = Math.min(2_000, waitMs * 2)) {
      if (this.#closed) throw new Interrupted();
      try {
        return await work();
      } catch (error) {
        if (!isKeyfleetError(error) || !error.retryable) throw error;
        this.#trouble = error;
        await sleep(waitMs);
      }
    }
  }

  /** Waits while paused. @throws Interrupted when the engine closes or the moves are cancelled; KF_POOL_SERVER_LOST. */
  async #gate(back = false): Promise<void> {
    for (;;) {
      this.#checkLost();
      if (!back && this.#view.wish === 'cancel') throw new Interrupted();
      if (this.#view.wish !== 'pause') return;
      await once(this.#changed, 'change');
    }
  }

  #checkLost(): void {
    if (this.#closed) throw new Interrupted();
    if (this.#lost) throw this.#lost;
  }

  #withMode(plan: NonNullable<JournalView['plan']>, move: PlannedMove, mode: 'guarded' | 'held' | 'returning'): PoolMap {
    const index = (name: string): number => this.#map.servers.findIndex((server) => server.name === name);
    return this.#map.withMove({ id: move.id, from: index(move.from), to: index(move.to), mode }, this.#slotsOf(plan, move));
  }

  #slotsOf(plan: NonNullable<JournalView['plan']>, move: PlannedMove): number[] {
    return slotsOfPlan(this.#options.config, plan, move);
  }

  #link(map: PoolMap, name: string): ServerLink {
    const server = map.servers.find((one) => one.name === name);
    if (server === undefined) throw new KeyfleetError('KF_POOL_PLAN', `there is no server ${name} in the pool`);
    return new ServerLink(this.#options.addressOf(server), { timeoutMs: this.#options.timeoutMs ?? 5_000, name: 'kf:mover' });
  }

  async #withLinks<T>(move: PlannedMove, work: (from: ServerLink, to: ServerLink) => Promise<T>): Promise<T> {
    const [from, to] = [this.#link(this.#map, move.from), this.#link(this.#map, move.to)];
    try {
      return await work(from, to);
    } finally {
      from.close();
      to.close();
    }
  }

  async #save(map: PoolMap): Promise<void> {
    await this.#options.saveMap(map);
  }

  async #append(record: MoveRecord): Promise<void> {
    await this.#journal.append(record);
    if (record.kind === 'plan') Object.assign(this.#view, viewOf([{ kind: 'token', number: this.#view.tokenNumber }, record]));
  }
}

function movesRunning(): KeyfleetError {
  return new KeyfleetError('KF_POOL_MOVES_RUNNING', 'moves are under way; wait for them or cancel them first');
}
