import { KeyfleetError } from '../base/errors.ts';
import type { KeyInput } from '../partition/hasher.ts';
import type { PoolConfig, PoolServer } from './pool-config.ts';
import { initialOwners, type SlotScheme, schemeOf } from './slot-scheme.ts';

/** A slot on its way from one server to another. */
export interface SlotMove {
  /** The move's id in the journal. */
  readonly id: string;
  /** Indexes of servers. */
  readonly from: number;
  readonly to: number;
  /**
   * How operations on the slot go: `planned`, plainly to `from`; `guarded`, through the guard on `from`; `held`, not at all for a moment; `returning`, through the
   * guard on `to`, since the move was cancelled and runs backwards. All but the first go by {@link ./guarded-commands.ts}.
   */
  readonly mode: 'planned' | 'guarded' | 'held' | 'returning';
}

/** A map as it is stored; see {@link PoolMap.toJson}. */
export interface PoolMapJson {
  readonly version: 1;
  readonly pool: string;
  readonly epoch: number;
  readonly scheme: SlotScheme['json'];
  readonly servers: readonly PoolServer[];
  /** Runs of slots with one owner: server, length, server, length, … */
  readonly owners: readonly number[];
  readonly moves: readonly (SlotMove & { readonly slots: readonly (readonly [first: number, count: number])[] })[];
}

/**
 * Which server every slot of a pool belongs to, and which slots are on the move: what every router goes by. Immutable: a change makes
 * another map with the next epoch, so that a router takes a change in one assignment, between two commands.
 *
 * What a slot is depends on the distribution (see {@link ./slot-scheme.ts}); keys of one slot are always together.
 * Cost: a look-up is one hash and two reads.
 */
export class PoolMap {
  readonly pool: string;
  /** Grows by one with every change. */
  readonly epoch: number;
  readonly servers: readonly PoolServer[];
  readonly scheme: SlotScheme;
  readonly #owners: Uint16Array;
  /** Per slot: 0, or one more than the index of its move. */
  readonly #marks: Uint16Array | undefined;
  readonly #moves: readonly SlotMove[];

  private constructor(parts: {
    readonly pool: string;
    readonly epoch: number;
    readonly servers: readonly PoolServer[];
    readonly scheme: SlotScheme;
    readonly owners: Uint16Array;
    readonly marks?: Uint16Array | undefined;
    readonly moves?: readonly SlotMove[];
  }) {
    this.pool = parts.pool;
    this.epoch = parts.epoch;
    this.servers = parts.servers;
    this.scheme = parts.scheme;
    this.#owners = parts.owners;
    this.#marks = parts.marks;
    this.#moves = parts.moves ?? [];
  }

  /** The map that a pool starts with: its distribution over its servers. @throws KF_CONFIG. */
  static of(config: PoolConfig): PoolMap {
    if (config.servers.length === 0) throw new KeyfleetError('KF_CONFIG', `pool ${config.name}: there are no servers`);
    const scheme = schemeOf(config);
    return new PoolMap({ pool: config.name, epoch: 1, servers: config.servers, scheme, owners: initialOwners(config, scheme) });
  }

  get slotCount(): number {
    return this.#owners.length;
  }

  slotOf(key: KeyInput): number {
    return this.scheme.slotOf(key);
  }

  /** Index of the server that a slot belongs to; of a slot on the move, the one it leaves. */
  ownerOf(slot: number): number {
    return this.#owners[slot]!;
  }

  /** The server of a key. */
  serverOf(key: KeyInput): PoolServer {
    return this.servers[this.#owners[this.scheme.slotOf(key)]!]!;
  }

  /** The move that a slot is part of. */
  moveOf(slot: number): SlotMove | undefined {
    return this.#marks === undefined ? undefined : this.#moves[this.#marks[slot]! - 1];
  }

  /**
   * The server where what stands on a key for longer belongs, transactions and commands that wait: of a key on the move the one it goes to, where it has to be brought
   * first; undefined while it is held.
   */
  homeOf(key: KeyInput): number | undefined {
    const slot = this.scheme.slotOf(key);
    const move = this.moveOf(slot);
    if (move === undefined || move.mode === 'planned') return this.#owners[slot]!;
    return move.mode === 'held' ? undefined : move.mode === 'guarded' ? move.to : move.from;
  }

  /** Whether any slot is on the move. */
  get hasMoves(): boolean {
    return this.#marks !== undefined;
  }

  get moves(): readonly SlotMove[] {
    return this.#moves;
  }

  /** Slots of a server, ascending. */
  slotsOf(server: number): number[] {
    const slots: number[] = [];
    for (let slot = 0; slot < this.#owners.length; slot++) if (this.#owners[slot] === server) slots.push(slot);
    return slots;
  }

  /** Slots that `move` takes with it, ascending. */
  slotsOfMove(id: string): number[] {
    const mark = this.#moves.findIndex((move) => move.id === id) + 1;
    const slots: number[] = [];
    if (mark > 0 && this.#marks) for (let slot = 0; slot < this.#marks.length; slot++) if (this.#marks[slot] === mark) slots.push(slot);
    return slots;
  }

  /** Puts slots on the move, or changes the state of a move there is. @throws KF_POOL_MAP when a slot is part of another move or not of `from`. */
  withMove(move: SlotMove, slots: readonly number[]): PoolMap {
    const index = this.#moves.findIndex(({ id }) => id === move.id);
    const moves = index < 0 ? [...this.#moves, move] : this.#moves.with(index, move);
    const mark = index < 0 ? moves.length : index + 1;
    const marks = this.#marks ? this.#marks.slice() : new Uint16Array(this.#owners.length);
    for (const slot of slots) {
      if (this.#owners[slot] !== move.from)
        throw badMap(this.pool, `slot ${slot} is not on server ${move.from}, from where move ${move.id} would take it`);
      if (marks[slot] !== 0 && marks[slot] !== mark) throw badMap(this.pool, `slot ${slot} is part of move ${moves[marks[slot]! - 1]!.id}`);
      marks[slot] = mark;
    }
    return this.#with({ marks, moves });
  }

  /** Ends a move: its slots belong to `to` (`done`), or stay where they were. */
  withoutMove(id: string, done: boolean): PoolMap {
    const index = this.#moves.findIndex((move) => move.id === id);
    const move = this.#moves[index];
    if (!move || !this.#marks) throw badMap(this.pool, `there is no move ${id}`);
    const owners = this.#owners.slice();
    const marks = this.#marks.slice();
    for (let slot = 0; slot < marks.length; slot++) {
      if (marks[slot] === index + 1) {
        if (done) owners[slot] = move.to;
        marks[slot] = 0;
      } else if (marks[slot]! > index + 1) marks[slot]!--;
    }
    const moves = this.#moves.toSpliced(index, 1);
    return this.#with({ owners, marks: moves.length === 0 ? undefined : marks, moves });
  }

  /** Gives slots to a server at once, as after a clone. */
  withOwner(slots: readonly number[], server: number): PoolMap {
    const owners = this.#owners.slice();
    for (const slot of slots) owners[slot] = server;
    return this.#with({ owners });
  }

  /** Another list of servers: those there keep their places, since slots know them by number. */
  withServers(servers: readonly PoolServer[]): PoolMap {
    const beyond = this.#owners.find((owner) => owner >= servers.length);
    if (beyond !== undefined) throw badMap(this.pool, `server ${beyond} owns slots and cannot go`);
    return this.#with({ servers });
  }

  /** The same owners by name, over another list of servers. @throws KF_POOL_MAP when a server that owns slots, or has a move, is not in it. */
  withServersByName(servers: readonly PoolServer[]): PoolMap {
    const places = this.servers.map(({ name }) => servers.findIndex((server) => server.name === name));
    const place = (index: number): number => {
      const found = places[index]!;
      if (found < 0) throw badMap(this.pool, `server ${this.servers[index]!.name} owns slots and cannot go`);
      return found;
    };
    const moves = this.#moves.map((move) => ({ ...move, from: place(move.from), to: place(move.to) }));
    return this.#with({ servers, owners: this.#owners.map(place), moves });
  }

  /** The same map as a later one, so that every router takes it. */
  atEpoch(epoch: number): PoolMap {
    return this.#with({ epoch });
  }

  /**
   * The same owners over finer slots, so that what `target` would change is whole slots: arcs of both rings, residues of both moduli,
   * both lists of ranges. Itself when the slots are the same already.
   */
  refinedFor(target: PoolMap): PoolMap {
    const scheme = this.scheme.refined(target.scheme);
    if (scheme.scheme === this.scheme) return this;
    if (this.#moves.length > 0) throw badMap(this.pool, 'slots cannot be refined while some are on the move');
    return this.#with({ scheme: scheme.scheme, owners: Uint16Array.from(scheme.parents, (parent) => this.#owners[parent]!) });
  }

  toJson(): PoolMapJson {
    const owners: number[] = [];
    for (let slot = 0, first = 0; slot <= this.#owners.length; slot++) {
      if (slot < this.#owners.length && this.#owners[slot] === this.#owners[first]) continue;
      owners.push(this.#owners[first]!, slot - first);
      first = slot;
    }
    const moves = this.#moves.map((move) => ({ ...move, slots: runsOf(this.slotsOfMove(move.id)) }));
    return { version: 1, pool: this.pool, epoch: this.epoch, scheme: this.scheme.json, servers: this.servers, owners, moves };
  }

  /** @throws KF_POOL_MAP when it is damaged, or of a later version. */
  static fromJson(json: PoolMapJson, config: PoolConfig): PoolMap {
    if (json.version !== 1) throw badMap(config.name, `its version ${String(json.version)} is not known here`);
    if (json.pool !== config.name) throw badMap(config.name, `it is of pool ${json.pool}`);
    const scheme = schemeOf(config, json.scheme);
    const owners = new Uint16Array(scheme.slotCount);
    let at = 0;
    for (let i = 0; i + 1 < json.owners.length; i += 2) {
      const [owner, count] = [json.owners[i]!, json.owners[i + 1]!];
      if (!(owner < json.servers.length) || !(count > 0) || at + count > owners.length) throw badMap(config.name, 'its owners are damaged');
      owners.fill(owner, at, at + count);
      at += count;
    }
    if (at !== owners.length) throw badMap(config.name, `it has owners for ${at} of ${owners.length} slots`);
    const marks = json.moves.length === 0 ? undefined : new Uint16Array(owners.length);
    json.moves.forEach((move, index) => {
      for (const [first, count] of move.slots) marks!.fill(index + 1, first, first + count);
    });
    const moves = json.moves.map(({ id, from, to, mode }) => ({ id, from, to, mode }));
    return new PoolMap({ pool: json.pool, epoch: json.epoch, servers: json.servers, scheme, owners, marks, moves });
  }

  #with(change: {
    readonly owners?: Uint16Array;
    readonly marks?: Uint16Array | undefined;
    readonly moves?: readonly SlotMove[];
    readonly servers?: readonly PoolServer[];
    readonly scheme?: SlotScheme;
    readonly epoch?: number;
  }): PoolMap {
    return new PoolMap({
      pool: this.pool,
      epoch: change.epoch ?? this.epoch + 1,
      servers: change.servers ?? this.servers,
      scheme: change.scheme ?? this.scheme,
      owners: change.owners ?? this.#owners,
      marks: 'marks' in change ? change.marks : this.#marks,
      moves: change.moves ?? this.#moves,
    });
  }
}

function runsOf(slots: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const slot of slots) {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === slot) last[1]++;
    else runs.push([slot, 1]);
  }
  return runs;
}

function badMap(pool: string, what: string): KeyfleetError {
  return new KeyfleetError('KF_POOL_MAP', `the map of pool ${pool}: ${what}`);
}
