import { ByteReader, ByteWriter } from '../../base/byte-stream.ts';
import type { Bytes } from '../../base/bytes.ts';
import { isKeyfleetError } from '../../base/errors.ts';
import type { Transport } from '../../transport/transport.ts';
import type { NodeClock } from '../node-clock.ts';
import type { KeyListeners } from './key-listeners.ts';

// Who waits for a key at one node hears of its changes at another. Where this node has a replica of the key's shard, that tells; else the leader is asked
// to, for a few seconds at a time, and asked again as long as somebody waits. Messages may be lost and leaders change: then, and once in
// a while in any case, whoever waits is told to look for itself.
//
//   watch     to the leader, a request    [lasts ms u32] ([keyspace u32][key sized]) …
//   changed   from it, a message          ([keyspace u32][1][key sized] | [keyspace u32][0] all keys) …

export const WATCH = 'watch';
export const CHANGED = 'changed';

/** The leader is asked again so often, and tells for so long. */
const RENEW_MS = 1_000;
const LASTS_MS = 5_000;
/** Nobody waits longer than this for a change that was not told. */
const LOOK_MS = 1_000;
const TIMEOUT_MS = 1_000;
/** Keys in one message. */
const MOST_KEYS = 1_000;

/** Where the shard of a key is, as far as this node knows. */
export type WatchedPlace = 'here' | { readonly leader: string | undefined };

interface Watch {
  readonly keyspaceId: number;
  readonly key: Bytes;
  readonly place: () => WatchedPlace;
  readonly listener: () => void;
  /** The node that was last asked to tell. */
  asked: string | undefined;
  lookedMs: number;
}

export interface KeyWatchesOptions {
  readonly clock: NodeClock;
  readonly transport: Transport;
  readonly listeners: KeyListeners;
}

export class KeyWatches {
  readonly #clock: NodeClock;
  readonly #transport: Transport;
  readonly #listeners: KeyListeners;
  readonly #watches = new Set<Watch>();
  /** Whom to tell of changes here: by keyspace and key, nodes, and until when. */
  readonly #told = new Map<string, Map<string, number>>();
  /** What is told when this turn of the event loop is over, by node. */
  readonly #news = new Map<string, Map<string, { readonly keyspaceId: number; readonly key: Bytes | undefined }>>();
  #cancel: (() => void) | undefined;

  constructor({ clock, transport, listeners }: KeyWatchesOptions) {
    this.#clock = clock;
    this.#transport = transport;
    this.#listeners = listeners;
  }

  /** Calls `listener` after changes of `keys`, which are of one slot. Resolves, to how to stop, when whoever leads their shard has heard of it. */
  async watch(keyspaceId: number, keys: readonly Bytes[], place: (key: Bytes) => WatchedPlace, listener: () => void): Promise<() => void> {
    const stopListening = this.#listeners.watch(keyspaceId, keys, listener);
    const lookedMs = this.#clock.now().monoMs;
    const watches = keys.map((key): Watch => ({ keyspaceId, key, place: () => place(key), listener, asked: undefined, lookedMs }));
    for (const watch of watches) this.#watches.add(watch);
    this.#arm();
    await this.#renew(watches);
    return () => {
      stopListening();
      for (const watch of watches) this.#watches.delete(watch);
    };
  }

  /** A replica here has run a change; undefined: of all keys. Whoever listens here hears of it at once, other nodes when this turn is over. */
  changed(keyspaceId: number, key: Bytes | undefined): void {
    this.#listeners.changed(keyspaceId, key);
    if (this.#told.size === 0) return;
    const { monoMs } = this.#clock.now();
    if (key === undefined) {
      const prefix = `${keyspaceId} `;
      for (const [name, nodes] of this.#told) if (name.startsWith(prefix)) this.#tell(nodes, keyspaceId, undefined, monoMs);
      return;
    }
    const nodes = this.#told.get(nameOf(keyspaceId, key));
    if (nodes) this.#tell(nodes, keyspaceId, key, monoMs);
  }

  /** Another node wants to hear of changes. */
  asked(from: string, payload: Bytes): Bytes {
    const reader = new ByteReader(payload);
    const { monoMs } = this.#clock.now();
    const untilMs = monoMs + reader.u32();
    while (!reader.atEnd) {
      const name = nameOf(reader.u32(), reader.sized());
      const nodes = this.#told.get(name) ?? new Map<string, number>();
      this.#told.set(name, nodes.set(from, untilMs));
    }
    this.#arm();
    return NOTHING;
  }

  /** Another node tells of changes. */
  heard(payload: Bytes): void {
    const reader = new ByteReader(payload);
    while (!reader.atEnd) {
      const keyspaceId = reader.u32();
      this.#listeners.changed(keyspaceId, reader.u8() === 1 ? reader.sized() : undefined);
    }
  }

  stop(): void {
    this.#cancel?.();
    this.#watches.clear();
    this.#told.clear();
  }

  #arm(): void {
    this.#cancel ??= this.#clock.after(RENEW_MS, () => {
      this.#cancel = undefined;
      const { monoMs } = this.#clock.now();
      for (const [name, nodes] of this.#told) {
        for (const [node, untilMs] of nodes) if (untilMs <= monoMs) nodes.delete(node);
        if (nodes.size === 0) this.#told.delete(name);
      }
      for (const watch of this.#watches) {
        if (monoMs - watch.lookedMs < LOOK_MS) continue;
        watch.lookedMs = monoMs;
        watch.listener();
      }
      void this.#renew([...this.#watches]);
      if (this.#watches.size > 0 || this.#told.size > 0) this.#arm();
    });
  }

  /** Asks the leaders of all that is elsewhere. */
  async #renew(watches: readonly Watch[]): Promise<void> {
    const byLeader = new Map<string, Watch[]>();
    for (const watch of watches) {
      const place = watch.place();
      if (place === 'here' || place.leader === undefined) continue;
      byLeader.set(place.leader, [...(byLeader.get(place.leader) ?? []), watch]);
    }
    const asking: Promise<void>[] = [];
    for (const [leader, all] of byLeader) {
      for (let at = 0; at < all.length; at += MOST_KEYS) asking.push(this.#ask(leader, all.slice(at, at + MOST_KEYS)));
    }
    await Promise.all(asking);
  }

  async #ask(leader: string, watches: readonly Watch[]): Promise<void> {
    const out = new ByteWriter(256).u32(LASTS_MS);
    for (const { keyspaceId, key } of watches) out.u32(keyspaceId).sized(key);
    try {
      await this.#transport.request(leader, WATCH, out.finish(), { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      // It is asked again, and until then a look is taken now and then.
      if (!isKeyfleetError(error)) throw error;
      return;
    }
    for (const watch of watches) {
      // Between the last leader and this one something may have changed that nobody told.
      const isNew = watch.asked !== undefined && watch.asked !== leader;
      watch.asked = leader;
      if (isNew && this.#watches.has(watch)) watch.listener();
    }
  }

  #tell(nodes: ReadonlyMap<string, number>, keyspaceId: number, key: Bytes | undefined, nowMs: number): void {
    for (const [node, untilMs] of nodes) {
      if (untilMs <= nowMs) continue;
      if (this.#news.size === 0) this.#clock.atTurnEnd(() => this.#send());
      const news = this.#news.get(node) ?? new Map();
      this.#news.set(node, news.set(key ? nameOf(keyspaceId, key) : `${keyspaceId}`, { keyspaceId, key }));
    }
  }

  #send(): void {
    for (const [node, news] of this.#news) {
      const out = new ByteWriter(256);
      for (const { keyspaceId, key } of news.values()) {
        if (key) out.u32(keyspaceId).u8(1).sized(key);
        else out.u32(keyspaceId).u8(0);
        if (out.length < MOST_BYTES) continue;
        this.#transport.send(node, CHANGED, out.finish());
        out.clear();
      }
      if (out.length > 0) this.#transport.send(node, CHANGED, out.finish());
    }
    this.#news.clear();
  }
}

const NOTHING: Bytes = new Uint8Array(0);
/** A message is sent as soon as it has so many; a key may be as long as a message can be. */
const MOST_BYTES = 32 * 1024;

function nameOf(keyspaceId: number, key: Bytes): string {
  let name = `${keyspaceId} `;
  for (const byte of key) name += String.fromCharCode(byte);
  return name;
}
