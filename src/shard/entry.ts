import { type Bytes, concatBytes, copyBytes, freshBytes, fromUtf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { type ChainHash, HASH_BYTES } from './chain-hash.ts';
import { CONTROL_BYTES, type ControlCommand, decodeControl, encodeControl, isControlKind } from './control-command.ts';
import { decodeLoad, encodeLoad, type LoadCommand } from './load.ts';
import type { Stretch } from './replica/data-digest.ts';
import { encodeRequestId, type RequestId, requestIdBytes } from './request-id.ts';
import { leaderBytes } from './shard-state.ts';
import type { InPlaceCodec, ValueCodec } from './value-module.ts';

// An entry of a shard's log: what the leader ordered in one go. All replicas run the same entries and so come to the same state.
//
//   [version u8][kind u8][serial u32][epoch f64][nowMs f64][basis f64, of a claim][leader u8 + bytes][prevHash 16][commands ...]
//   a command: [kind u8][lengths and bytes, see encodeEntry]
//
// The hash of an entry is taken over the very same bytes, in the same order.

export const ENTRY_VERSION = 2;

/**
 * What an entry is, beside its commands. `grounded`: its leader had run the entry before it, so another one before it means that somebody's
 * past is wrong. `predicted`: it was sent off behind entries whose fate was open, and counts for nothing when one of them took another place.
 * `claim`: its leader wants to lead from here on. `resign`: it leads no more, and anybody may.
 */
export type EntryKind = 'grounded' | 'predicted' | 'claim' | 'resign';

const KINDS: readonly EntryKind[] = ['grounded', 'predicted', 'claim', 'resign'];

/** One thing that an entry does. */
export type EntryCommand<Command> =
  /** With a `request`, it is run once however often it stands in the log. */
  | { readonly kind: 'command'; readonly key: Bytes; readonly command: Command; readonly request?: RequestId }
  /** `key` is the first of its keys: what it is routed by. */
  | { readonly kind: 'command-many'; readonly key: Bytes; readonly command: Command; readonly request?: RequestId }
  /** Sessions not used since `beforeMs` have expired. */
  | { readonly kind: 'expire-sessions'; readonly beforeMs: number }
  /** The keyspace's hook has been told of all entries up to this one, of this shard or of `shard`, which it took over. */
  | { readonly kind: 'hook-done'; readonly seq: number; readonly shard?: number }
  /** Removes those of `keys` that have expired by the entry's time. */
  | { readonly kind: 'expire-keys'; readonly keys: readonly Bytes[] }
  /** Leaves all records behind and goes on in the empty table `table`. */
  | { readonly kind: 'clear'; readonly table: number }
  /** Each replica is to take the digest of this stretch of its records, as of this entry: replica/data-digest.ts. */
  | ({ readonly kind: 'digest-mark' } & Stretch)
  /** What it came to as of entry `seq`: a replica for which it came to something else answers no more, and is brought its data anew. */
  | { readonly kind: 'digest'; readonly seq: number; readonly hash: Bytes }
  /** A step of the restore of a backup. */
  | { readonly kind: 'load'; readonly load: LoadCommand }
  /** A step of a split or of a merge: the only command of its entry. */
  | { readonly kind: 'control'; readonly control: ControlCommand };

/** A command with the id of its request. */
export type OnceCommand<Command> = Extract<EntryCommand<Command>, { readonly request?: RequestId }> & { readonly request: RequestId };

export interface Entry<Command> {
  /** Default: grounded. */
  readonly kind?: EntryKind;
  /** Of a claim: the last entry of the old leader that the claimant has run. A later one makes the claim void. */
  readonly basis?: number;
  /** Counts what its leader sends off, so that no two of its entries are equal. Default: 0. */
  readonly serial?: number;
  readonly epoch: number;
  readonly leader: string;
  /** The hash of the entry before. */
  readonly prevHash: Bytes;
  /** The leader's clock when it opened the entry; never before that of the entry before. Milliseconds since 1970. */
  readonly nowMs: number;
  readonly commands: readonly EntryCommand<Command>[];
}

export const KIND_COMMAND = 1;
export const KIND_COMMAND_MANY = 2;
export const KIND_EXPIRE_KEYS = 3;
export const KIND_CLEAR = 4;
/** Stands before a command, whose request id it is. */
export const KIND_REQUEST = 5;
export const KIND_EXPIRE_SESSIONS = 6;
export const KIND_HOOK_DONE = 7;
export const KIND_DIGEST_MARK = 8;
export const KIND_DIGEST = 9;
export const KIND_LOAD = 10;
export const KIND_HOOK_DONE_OF = 11;

export function encodeEntryHeader(entry: Omit<Entry<unknown>, 'commands'>): Bytes {
  const { kind = 'grounded', basis = 0, serial = 0 } = entry;
  const leader = leaderBytes(entry.leader);
  const leaderAt = kind === 'claim' ? 30 : 22;
  const out = freshBytes(leaderAt + 1 + leader.length + entry.prevHash.length);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  out[0] = ENTRY_VERSION;
  out[1] = KINDS.indexOf(kind);
  view.setUint32(2, serial);
  view.setFloat64(6, entry.epoch);
  view.setFloat64(14, entry.nowMs);
  if (kind === 'claim') view.setFloat64(22, basis);
  out[leaderAt] = leader.length;
  out.set(leader, leaderAt + 1);
  out.set(entry.prevHash, leaderAt + 1 + leader.length);
  return out;
}

/** Adds a command without a request id; see {@link hashCommand}. */
export function hashKeyed<Command>(hash: ChainHash, kind: number, key: Bytes, command: Command, codec: InPlaceCodec<Command>): void {
  hash.addByte(kind);
  hash.addU32(key.length);
  hash.add(key);
  const size = codec.size(command);
  hash.addU32(size);
  hash.addEncoded(codec, command, size);
}

/** Adds a command to the hash of its entry, byte for byte as {@link encodeEntry} writes it. */
export function hashCommand<Command>(hash: ChainHash, command: EntryCommand<Command>, codec: InPlaceCodec<Command>): void {
  switch (command.kind) {
    case 'command':
    case 'command-many':
      if (command.request) {
        hash.addByte(KIND_REQUEST);
        hash.add(encodeRequestId(command.request));
      }
      hashKeyed(hash, command.kind === 'command' ? KIND_COMMAND : KIND_COMMAND_MANY, command.key, command.command, codec);
      return;
    case 'expire-keys':
      hashExpireKeys(hash, command.keys);
      return;
    case 'clear':
      hashClear(hash, command.table);
      return;
    case 'hook-done':
      hash.add(hookDoneBytes(command.seq, command.shard));
      return;
    case 'expire-sessions':
      hashExpireSessions(hash, command.beforeMs);
      return;
    case 'digest-mark':
    case 'digest':
      hash.add(digestBytes(command));
      return;
    case 'load':
      hash.add(loadBytes(command.load));
      return;
    case 'control':
      hashControl(hash, command.control);
  }
}

export function hashControl(hash: ChainHash, control: ControlCommand): void {
  hash.add(encodeControl(control));
}

export function hashExpireSessions(hash: ChainHash, beforeMs: number): void {
  hash.addByte(KIND_EXPIRE_SESSIONS);
  hash.add(f64Bytes(beforeMs));
}

export function hashExpireKeys(hash: ChainHash, keys: readonly Bytes[]): void {
  hash.addByte(KIND_EXPIRE_KEYS);
  hash.addU32(keys.length);
  for (const key of keys) {
    hash.addU32(key.length);
    hash.add(key);
  }
}

export function hashClear(hash: ChainHash, table: number): void {
  hash.addByte(KIND_CLEAR);
  hash.addU32(table);
}

/**
 * The bytes of an entry. `bodies`: what {@link bodyOf} says of each of its commands, where that is at hand.
 * Cost: one pass over the commands and one copy.
 */
export function encodeEntry<Command>(entry: Entry<Command>, codec: ValueCodec<Command>, bodies?: readonly Bytes[]): Bytes {
  const header = encodeEntryHeader(entry);
  const { commands } = entry;
  const encoded = bodies ?? commands.map((command) => bodyOf(command, codec));
  let length = header.length;
  for (let i = 0; i < commands.length; i++) length += headBytes(commands[i]!) + encoded[i]!.length;
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  out.set(header);
  let at = header.length;
  for (let i = 0; i < commands.length; i++) {
    const command = commands[i]!;
    const body = encoded[i]!;
    if (command.kind === 'command' || command.kind === 'command-many') {
      if (command.request) {
        const request = encodeRequestId(command.request);
        out[at] = KIND_REQUEST;
        out.set(request, at + 1);
        at += 1 + request.length;
      }
      const { key } = command;
      out[at] = command.kind === 'command' ? KIND_COMMAND : KIND_COMMAND_MANY;
      view.setUint32(at + 1, key.length);
      out.set(key, at + 5);
      at += 5 + key.length;
      view.setUint32(at, body.length);
      at += 4;
    }
    out.set(body, at);
    at += body.length;
  }
  return out;
}

/** What {@link encodeEntry} writes of a command: of one for keys, its bytes by the module's codec; else all of it. */
export function bodyOf<Command>(command: EntryCommand<Command>, codec: ValueCodec<Command>): Bytes {
  switch (command.kind) {
    case 'command':
    case 'command-many':
      return codec.encode(command.command);
    case 'expire-keys': {
      const parts = [Uint8Array.of(KIND_EXPIRE_KEYS), u32Bytes(command.keys.length)];
      for (const key of command.keys) parts.push(u32Bytes(key.length), key);
      return concatBytes(...parts);
    }
    case 'clear':
      return concatBytes(Uint8Array.of(KIND_CLEAR), u32Bytes(command.table));
    case 'hook-done':
      return hookDoneBytes(command.seq, command.shard);
    case 'expire-sessions':
      return concatBytes(Uint8Array.of(KIND_EXPIRE_SESSIONS), f64Bytes(command.beforeMs));
    case 'digest-mark':
    case 'digest':
      return digestBytes(command);
    case 'load':
      return loadBytes(command.load);
    case 'control':
      return encodeControl(command.control);
  }
}

function hookDoneBytes(seq: number, shard: number | undefined): Bytes {
  if (shard === undefined) return concatBytes(Uint8Array.of(KIND_HOOK_DONE), f64Bytes(seq));
  return concatBytes(Uint8Array.of(KIND_HOOK_DONE_OF), u32Bytes(shard), f64Bytes(seq));
}

function loadBytes(load: LoadCommand): Bytes {
  const body = encodeLoad(load);
  return concatBytes(Uint8Array.of(KIND_LOAD), u32Bytes(body.length), body);
}

type DigestCommand = Extract<EntryCommand<unknown>, { readonly kind: 'digest-mark' | 'digest' }>;

function digestBytes(command: DigestCommand): Bytes {
  if (command.kind === 'digest') return concatBytes(Uint8Array.of(KIND_DIGEST), f64Bytes(command.seq), command.hash);
  const { from, maxPairs, maxBytes } = command;
  return concatBytes(Uint8Array.of(KIND_DIGEST_MARK), u32Bytes(from.length), from, u32Bytes(maxPairs), u32Bytes(maxBytes));
}

/** What stands before the body: of a command for keys, its kind, key and lengths. */
function headBytes<Command>(command: EntryCommand<Command>): number {
  if (command.kind !== 'command' && command.kind !== 'command-many') return 0;
  return 9 + command.key.length + (command.request ? 1 + requestIdBytes(command.request) : 0);
}

/** What commands hold may lie in `bytes`. @throws KF_BAD_ENTRY when these are no entry, or one of a version that this release does not know. */
export function decodeEntry<Command>(bytes: Bytes, codec: ValueCodec<Command>): Entry<Command> {
  const reader = new EntryReader(bytes);
  const version = reader.u8();
  if (version !== ENTRY_VERSION) throw badEntry(`version ${version}; this release reads version ${ENTRY_VERSION}`);
  const kindNumber = reader.u8();
  const entryKind = KINDS[kindNumber];
  if (entryKind === undefined) throw badEntry(`kind ${kindNumber}`);
  const serial = reader.u32();
  const epoch = reader.f64();
  const nowMs = reader.f64();
  const basis = entryKind === 'claim' ? reader.f64() : 0;
  const leader = fromUtf8(reader.take(reader.u8()));
  const prevHash = reader.take(16);
  const commands: EntryCommand<Command>[] = [];
  while (!reader.atEnd) {
    let kind = reader.u8();
    let request: RequestId | undefined;
    if (kind === KIND_REQUEST) {
      request = reader.requestId();
      kind = reader.u8();
      if (kind !== KIND_COMMAND && kind !== KIND_COMMAND_MANY) throw badEntry(`a request id before a command of kind ${kind}`);
    }
    if (kind === KIND_COMMAND || kind === KIND_COMMAND_MANY) {
      const key = reader.sized();
      const command = codec.decode(reader.sizedView());
      commands.push({ kind: kind === KIND_COMMAND ? 'command' : 'command-many', key, command, ...(request ? { request } : {}) });
    } else if (kind === KIND_HOOK_DONE) {
      commands.push({ kind: 'hook-done', seq: reader.f64() });
    } else if (kind === KIND_HOOK_DONE_OF) {
      const shard = reader.u32();
      commands.push({ kind: 'hook-done', seq: reader.f64(), shard });
    } else if (kind === KIND_EXPIRE_SESSIONS) {
      commands.push({ kind: 'expire-sessions', beforeMs: reader.f64() });
    } else if (kind === KIND_EXPIRE_KEYS) {
      const count = reader.u32();
      const keys: Bytes[] = [];
      for (let i = 0; i < count; i++) keys.push(reader.sized());
      commands.push({ kind: 'expire-keys', keys });
    } else if (kind === KIND_CLEAR) {
      commands.push({ kind: 'clear', table: reader.u32() });
    } else if (kind === KIND_DIGEST_MARK) {
      commands.push({ kind: 'digest-mark', from: reader.sized(), maxPairs: reader.u32(), maxBytes: reader.u32() });
    } else if (kind === KIND_DIGEST) {
      commands.push({ kind: 'digest', seq: reader.f64(), hash: reader.take(HASH_BYTES) });
    } else if (kind === KIND_LOAD) {
      commands.push({ kind: 'load', load: decodeLoad(reader.sized()) });
    } else if (isControlKind(kind)) {
      const control = decodeControl(kind, reader.take(CONTROL_BYTES - 1));
      if (commands.length > 0 || !reader.atEnd) throw badEntry('a step of a workflow that does not stand alone');
      commands.push({ kind: 'control', control });
    } else {
      throw badEntry(`a command of kind ${kind}`);
    }
  }
  const special = entryKind === 'grounded' ? {} : entryKind === 'claim' ? { kind: entryKind, basis } : { kind: entryKind };
  return { ...special, ...(serial === 0 ? {} : { serial }), epoch, leader, prevHash, nowMs, commands };
}

class EntryReader {
  readonly #bytes: Bytes;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Bytes {
    const from = this.#pass(length);
    return copyBytes(this.#bytes, from, from + length);
  }

  u8(): number {
    return this.#bytes[this.#pass(1)]!;
  }

  u32(): number {
    return this.#view.getUint32(this.#pass(4));
  }

  f64(): number {
    return this.#view.getFloat64(this.#pass(8));
  }

  /** Steps over what is read; answers where it begins. */
  #pass(length: number): number {
    const from = this.#at;
    if (from + length > this.#bytes.length) throw badEntry(`it ends at byte ${this.#bytes.length}, in the middle of something`);
    this.#at = from + length;
    return from;
  }

  sized(): Bytes {
    return this.take(this.u32());
  }

  /** The same where it lies. */
  sizedView(): Bytes {
    const length = this.u32();
    const from = this.#pass(length);
    return this.#bytes.subarray(from, from + length);
  }

  requestId(): RequestId {
    const clientId = this.take(this.u8());
    const requestSeq = this.f64();
    const ackedBelow = this.f64();
    const issuedMs = this.f64();
    return { clientId, requestSeq, ackedBelow, ...(Number.isNaN(issuedMs) ? {} : { issuedMs }) };
  }
}

export function f64Bytes(value: number): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value);
  return bytes;
}

function u32Bytes(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function badEntry(what: string): KeyfleetError {
  return new KeyfleetError('KF_BAD_ENTRY', `not an entry of a shard's log: ${what}`);
}
