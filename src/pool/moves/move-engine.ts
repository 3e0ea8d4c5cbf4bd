/**
 * Moves keys between live servers, as docs/protocol/pool-moves.md says: one move after the other, each through the fenced key walk, with every decision in the journal before
 * it takes effect. After a crash the next engine over the same journal goes on where this one was.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { assert } from '../../base/assert.ts';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError, KeyfleetError } from '../../base/errors.ts';
import { PoolMap } from '../pool-map.ts';
import { dropStrays, forecastMove, type MoveForecast } from './move-checks.ts';
import { Journal } from './move-journal.ts';
import type { ServerLink } from './move-link.ts';
import { mapOfJournal, slotsOfPlan } from './move-map.ts';
import type { MoveEngineOptions } from './move-options.ts';
import { MovePace } from './move-pace.ts';
import { type ChangePlan, movingIn } from './move-plan.ts';
import { type JournalView, type MoveRecord, type MoveState, type PlannedMove, viewOf, type Wish } from './move-records.ts';
import { Interrupted, MoveSessions } from './move-session.ts';
import { MoveMeter, type MoveStatus } from './move-status.ts';
import { DEFAULT_LIMITS, type KeyWalk, type WalkLimits } from './move-walk.ts';

/** What a dry run reckons with before anything has moved; measured when something has. */
const TYPICAL_KEYS_PER_SECOND = 5_000;

export class MoveEngine {
  readonly #options: MoveEngineOptions;
  readonly #journal: Journal<MoveRecord>;
  readonly #view: { -readonly [K in keyof JournalView]: JournalView[K] };
  readonly #changed = new EventEmitter().setMaxListeners(0);
  readonly pace: MovePace;
  limits: WalkLimits;
  #map: PoolMap;
  #running: Promise<void> | undefined;
  readonly #sessions: MoveSessions;
  #stopped: KeyfleetError | undefined;
  #closed = false;
  /** What else works on the servers, so that no moves may begin. */
  #occupant: string | undefined;
  #meter = new MoveMeter();
  /** Of the last moves. */
  #keysPerSecond = TYPICAL_KEYS_PER_SECOND;

  private constructor(options: MoveEngineOptions, journal: Journal<MoveRecord>, view: JournalView) {
    this.#options = options;
    this.#journal = journal;
    this.#view = view;
    this.#map = view.plan === undefined ? options.map : mapOfJournal(options.config, options.map, view);
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.pace = new MovePace(options.pace ?? {}, () => this.#options.routers.foregroundP99Ms?.());
    this.#sessions = new MoveSessions({
      options,
      view: this.#view,
      pace: this.pace,
      append: (record) => this.#append(record),
      limits: () => this.limits,
      onMoved: (keys, bytes) => this.#meter.count(keys, bytes),
      gate: (back) => this.#gate(back),
      onLost: () => void this.#changed.emit('change'),
    });
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

  /** The map that the moves under way lead to; without any, or when they are cancelled, the one of now. */
  get goal(): PoolMap {
    const { plan, wish } = this.#view;
    return plan === undefined || wish === 'cancel'
      ? this.#map
      : PoolMap.fromJson(plan.target, this.#options.config).withServersByName(plan.serversAfter);
  }

  /** The moves under way, those that have ended included. */
  get planned(): readonly PlannedMove[] {
    return this.#view.plan?.moves ?? [];
  }

  /** Keeps moves from beginning until what it answers is called. @throws KF_POOL_MOVES_RUNNING. */
  occupy(title: string): () => void {
    this.#checkFree();
    this.#occupant = title;
    return () => {
      if (this.#occupant === title) this.#occupant = undefined;
    };
  }

  /** Keeps another map and puts it in force while no moves run. @throws KF_POOL_MOVES_RUNNING, KF_POOL_MAP. */
  async replaceMap(map: PoolMap): Promise<void> {
    if (this.#view.plan !== undefined) throw movesRunning('moves are');
    await this.#save(map);
    this.#map = map;
    await this.republish();
  }

  /** Puts a map in force, as a clone does, that a crash forgets until {@link keep}: whoever goes on must know of it, and skip its epoch. @throws KF_POOL_MOVES_RUNNING. */
  async hold(map: PoolMap): Promise<void> {
    if (this.#view.plan !== undefined) throw movesRunning('moves are');
    this.#map = map;
    await this.republish();
  }

  /** Keeps the map that is in force. @throws KF_POOL_MAP. */
  async keep(): Promise<void> {
    await this.#save(this.#map);
  }

  /** Takes a new token on servers, in this order; only its bearer may change their keys from then on. @throws KF_POOL_FENCED. */
  fence(links: readonly ServerLink[]): Promise<string> {
    return this.#sessions.fence(links);
  }

  /** Resolves once every router goes by the map of now. */
  async republish(): Promise<void> {
    await this.#options.routers.publish(this.#map);
  }

  /** What each move of a plan would be: a dry run. */
  async forecast(plan: ChangePlan): Promise<(PlannedMove & MoveForecast & { readonly seconds: number })[]> {
    const forecasts: (PlannedMove & MoveForecast & { readonly seconds: number })[] = [];
    const { bytesPerSecond = Number.POSITIVE_INFINITY } = this.pace.limits;
    for (const move of plan.moves) {
      const forecast = await this.#sessions.withLinks(plan.start, move, (from, to) =>
        forecastMove(from, to, movingIn(plan.start, plan.slotsOf(move))),
      );
      const { keys, bytes } = forecast;
      forecasts.push({ ...move, ...forecast, seconds: Math.max(keys / this.#keysPerSecond, bytes / bytesPerSecond) });
    }
    return forecasts;
  }

  /** Begins the moves of a plan; resolves once it is in the journal. @throws KF_POOL_MOVES_RUNNING; KF_POOL_PLAN with what a forecast found. */
  async start(plan: ChangePlan, options: { readonly dropStrays?: boolean } = {}): Promise<void> {
    this.#checkFree();
    if (plan.base !== this.#map.epoch)
      throw new KeyfleetError('KF_POOL_PLAN', 'the pool has changed since the plan was made; make it anew', { retryable: true });
    const { dropStrays: drop = false } = options;
    for (const { from, to, problems } of await this.forecast(plan)) {
      const left = drop ? problems.filter((problem) => !problem.includes('already holds')) : problems;
      if (left.length > 0) throw new KeyfleetError('KF_POOL_PLAN', `${from} to ${to}: ${left.join('; ')}`);
    }
    this.#checkFree();
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
    this.#keysPerSecond = this.#meter.averageKeysPerSecond ?? this.#keysPerSecond;
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
    const { walker } = this.#sessions;
    if (walker === undefined || !this.#map.moves.some(({ id }) => id === moveId))
      throw new KeyfleetError('KF_POOL_MOVING', 'the mover is not ready', { retryable: true });
    await walker.pull(keys);
  }

  status(): MoveStatus {
    const { plan, states, wish } = this.#view;
    const moves = (plan?.moves ?? []).map((move) => ({ ...move, state: states.get(move.id) ?? 'pending' }));
    const done = moves.filter(({ state }) => state === 'done' || state === 'after');
    const trouble = this.#stopped ?? this.#sessions.trouble;
    const active = { run: 'running', pause: 'paused', cancel: 'cancelling' } as const;
    return {
      state: plan === undefined ? 'idle' : this.#stopped ? 'stopped' : active[wish],
      title: plan?.title,
      moves,
      slotsDone: done.reduce((sum, { slotCount }) => sum + slotCount, 0),
      slotsTotal: moves.reduce((sum, { slotCount }) => sum + slotCount, 0),
      ...this.#meter.read(moves.filter(({ state }) => state === 'pending').reduce((sum, { slotCount }) => sum + slotCount, 0)),
      foregroundP99Ms: this.#options.routers.foregroundP99Ms?.(),
      pauseMs: this.pace.pauseMs,
      trouble: trouble === undefined ? undefined : `${trouble.code}: ${trouble.message}`,
      epoch: this.#map.epoch,
    };
  }

  /** Stops where it is, without a word to the servers; the journal says how to go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#sessions.close();
    this.#changed.emit('change');
    await this.#running;
    await this.#journal.close();
  }

  #checkFree(): void {
    if (this.#view.plan !== undefined) throw movesRunning('moves are');
    if (this.#occupant !== undefined) throw movesRunning(`"${this.#occupant}" is`);
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
        try {
          await this.#step(plan, move, states.get(move.id)!);
        } catch (error) {
          // Cancelled: the next look at the move's state says what is to be done.
          if (!(error instanceof Interrupted) || this.#closed) throw error;
        }
      }
    }
    const cancelled = plan.moves.some(({ id }) => states.get(id) === 'cancelled');
    await this.#sessions.unfence(this.#map, plan.moves);
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
        const forecast = await this.#sessions.retried(async () => {
          await this.#gate();
          return this.#sessions.withLinks(this.#map, move, async (from, to) => {
            const moving = movingIn(this.#map, this.#slotsOf(plan, move));
            if (plan.dropStrays) await dropStrays(to, moving);
            return forecastMove(from, to, moving);
          });
        });
        if (forecast.problems.length > 0)
          throw new KeyfleetError('KF_POOL_PLAN', `${move.from} to ${move.to}: ${forecast.problems.join('; ')}`);
        this.#meter.expect(forecast.keys, move.slotCount);
        if (forecast.byType) this.limits = { ...this.limits, byType: true };
        return this.#enter(move, 'guarded', this.#withMode(plan, move, 'guarded'));
      }
      case 'guarded': {
        const outcome = cancelling ? 'cancel' : await this.#sessions.run(this.#map, move, false, (walk) => this.#walkAll(walk));
        if (outcome === 'cancel') {
          // Replicas that are slow to confirm are waited for before routers are held, not only then.
          await this.#sessions.run(this.#map, move, false, (walk) => walk.confirmLeft());
          return this.#enter(move, 'held', this.#withMode(plan, move, 'held'));
        }
        return this.#enter(move, 'after', this.#map.withoutMove(move.id, true));
      }
      case 'after':
        await this.#sessions.cleanUp(this.#map, move, false, movingIn(this.#map, this.#slotsOf(plan, move)));
        return this.#enter(move, 'done');
      case 'held':
        // What was half copied arrives first: from then on every key is on exactly one side.
        // The replicas of a source that becomes the target know it too, in case one of them takes over.
        await this.#sessions.run(this.#map, move, false, (walk) => walk.confirmLeft());
        await this.#sessions.cleanUp(this.#map, move, false);
        await this.#sessions.run(this.#map, move, true, async () => {});
        return this.#enter(move, 'returning', this.#withMode(plan, move, 'returning'));
      case 'returning':
        await this.#sessions.run(this.#map, move, true, (walk) => this.#walkAll(walk));
        return this.#enter(move, 'before', this.#map.withoutMove(move.id, false));
      case 'before':
        await this.#sessions.cleanUp(this.#map, move, true, movingIn(this.#map, this.#slotsOf(plan, move)));
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
    if (state === 'after' || state === 'held') this.#meter.ended();
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

  /** Waits while paused. @throws Interrupted when the engine closes or the moves are cancelled; KF_POOL_SERVER_LOST. */
  async #gate(back = false): Promise<void> {
    for (;;) {
      this.#sessions.check();
      if (!back && this.#view.wish === 'cancel') throw new Interrupted();
      if (this.#view.wish !== 'pause') return;
      await once(this.#changed, 'change');
    }
  }

  #withMode(plan: NonNullable<JournalView['plan']>, move: PlannedMove, mode: 'guarded' | 'held' | 'returning'): PoolMap {
    const index = (name: string): number => this.#map.servers.findIndex((server) => server.name === name);
    return this.#map.withMove({ id: move.id, from: index(move.from), to: index(move.to), mode }, this.#slotsOf(plan, move));
  }

  #slotsOf(plan: NonNullable<JournalView['plan']>, move: PlannedMove): number[] {
    return slotsOfPlan(this.#options.config, plan, move);
  }

  async #save(map: PoolMap): Promise<void> {
    await this.#options.saveMap(map);
  }

  async #append(record: MoveRecord): Promise<void> {
    await this.#journal.append(record);
    if (record.kind === 'plan') Object.assign(this.#view, viewOf([{ kind: 'token', number: this.#view.tokenNumber }, record]));
  }
}

function movesRunning(what: string): KeyfleetError {
  return new KeyfleetError('KF_POOL_MOVES_RUNNING', `${what} under way; wait, or cancel first`);
}
