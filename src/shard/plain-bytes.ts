import { type Bytes, concatBytes, copyBytes, equalBytes, freshBytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { CommandContext, CommandResult, ValueCodec, ValueModule } from './value-module.ts';

/** When a change is made at all. `equals`: the key holds exactly these bytes. */
export type PlainCondition = 'always' | 'absent' | 'present' | { readonly equals: Bytes };

export type PlainCommand =
  /** `ttlMs`: from now; `keepTtl`: as before; neither: never expires. */
  | { readonly kind: 'set'; readonly value: Bytes; readonly ttlMs?: number; readonly keepTtl?: boolean; readonly if?: PlainCondition }
  | { readonly kind: 'delete'; readonly if?: PlainCondition }
  /** Changes only when the key expires; `null`: never. */
  | { readonly kind: 'expire'; readonly ttlMs: number | null };

/** Whether the change was made, and what the key held before it. */
export interface PlainReply {
  readonly done: boolean;
  readonly previous: Bytes | undefined;
}

export type PlainQuery = { readonly kind: 'get' } | { readonly kind: 'ttl' };

export interface PlainAnswer {
  /** Undefined: the key is absent. A `ttl` query leaves it out: present then says that there is one. */
  readonly present: boolean;
  readonly value: Bytes | undefined;
  /** Undefined: never, or no key. */
  readonly expireAtMs: number | undefined;
}

const NO_BYTES: Bytes = new Uint8Array(0);
const GET: PlainQuery = { kind: 'get' };

/** The commands and queries of {@link plainBytes}, written short: `users.command('anna', plain.set(bytes, { ttlMs: 60_000 }))`. */
export const plain = {
  set: (
    value: Bytes,
    options: { readonly ttlMs?: number; readonly keepTtl?: boolean; readonly if?: PlainCondition } = {},
  ): PlainCommand => ({ kind: 'set', value: mustBeBytes(value), ...options }),
  delete: (options: { readonly if?: PlainCondition } = {}): PlainCommand => ({ kind: 'delete', ...options }),
  expire: (ttlMs: number | null): PlainCommand => ({ kind: 'expire', ttlMs }),
  get: (): PlainQuery => GET,
  ttl: (): PlainQuery => ({ kind: 'ttl' }),
} as const;

/** Values are bytes: set, get, delete, with a time to live and conditions. */
export const plainBytes: ValueModule<Bytes, PlainCommand, PlainReply, PlainQuery, PlainAnswer> = {
  name: 'plain-bytes',
  codec: { encode: (value) => value, decode: (bytes) => bytes },
  commandCodec: plainCommandCodec(),
  command: (ctx, value, command) => runPlain(ctx, value, command),
  query: (ctx, value, query) => ({
    answer: { present: value !== undefined, value: query.kind === 'get' ? value : undefined, expireAtMs: ctx.expireAtMs },
  }),
};

function runPlain(ctx: CommandContext, value: Bytes | undefined, command: PlainCommand): CommandResult<Bytes, PlainReply> {
  const refused = { reply: { done: false, previous: value }, value };
  switch (command.kind) {
    case 'set': {
      mustBeBytes(command.value);
      if (!holds(command.if, value)) return refused;
      const reply = { done: true, previous: value };
      if (command.ttlMs !== undefined) return { reply, value: command.value, expireAtMs: ctx.nowMs + wholeTtl(command.ttlMs) };
      return command.keepTtl ? { reply, value: command.value } : { reply, value: command.value, expireAtMs: null };
    }
    case 'delete':
      if (value === undefined || !holds(command.if, value)) return refused;
      return { reply: { done: true, previous: value }, value: undefined };
    case 'expire': {
      if (value === undefined) return refused;
      const expireAtMs = command.ttlMs === null ? null : ctx.nowMs + wholeTtl(command.ttlMs);
      return { reply: { done: true, previous: value }, value, expireAtMs };
    }
    default:
      throw new KeyfleetError('KF_BAD_COMMAND', `plain-bytes has no command ${JSON.stringify((command as { kind: unknown }).kind)}`);
  }
}

/** Text that is kept as a value would be lost without a word: what programs that are not checked by types try first. */
function mustBeBytes(value: Bytes): Bytes {
  if (value instanceof Uint8Array) return value;
  throw new KeyfleetError(
    'KF_BAD_COMMAND',
    `a value of plain-bytes is a Uint8Array, not ${typeof value}; new TextEncoder().encode(text) makes one of text`,
  );
}

function holds(condition: PlainCondition | undefined, value: Bytes | undefined): boolean {
  if (condition === undefined || condition === 'always') return true;
  if (condition === 'absent') return value === undefined;
  if (condition === 'present') return value !== undefined;
  return value !== undefined && equalBytes(value, condition.equals);
}

function wholeTtl(ttlMs: number): number {
  if (!Number.isSafeInteger(ttlMs)) throw new KeyfleetError('KF_BAD_COMMAND', `ttlMs must be a whole number of milliseconds, not ${ttlMs}`);
  return ttlMs;
}

const SET = 1;
const DELETE = 2;
const EXPIRE = 3;
const CONDITIONS = ['always', 'absent', 'present', 'equals'] as const;

/** [kind u8][condition u8][ttl f64, NaN for none][equals: length u32, bytes]?[value]. `keepTtl` is a bit of the condition. */
function plainCommandCodec(): ValueCodec<PlainCommand> {
  const KEEP_TTL = 0x80;
  return {
    encode(command) {
      const condition = command.kind === 'expire' ? undefined : command.if;
      const equals = typeof condition === 'object' ? condition.equals : undefined;
      const value = command.kind === 'set' ? command.value : NO_BYTES;
      const ttl = command.kind === 'delete' ? undefined : command.ttlMs;
      const head = freshBytes(10 + (equals ? 4 : value.length));
      const view = new DataView(head.buffer, head.byteOffset, head.length);
      head[0] = command.kind === 'set' ? SET : command.kind === 'delete' ? DELETE : EXPIRE;
      head[1] = equals ? 3 : CONDITIONS.indexOf((condition ?? 'always') as 'always');
      if (command.kind === 'set' && command.keepTtl) head[1] |= KEEP_TTL;
      view.setFloat64(2, ttl ?? Number.NaN);
      if (!equals) {
        head.set(value, 10);
        return head;
      }
      view.setUint32(10, equals.length);
      return concatBytes(head, equals, value);
    },
    decode(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const keepTtl = (bytes[1]! & KEEP_TTL) !== 0;
      const name = CONDITIONS[bytes[1]! & 0x7f] ?? 'always';
      const number = view.getFloat64(2);
      const ttlMs = Number.isNaN(number) ? undefined : number;
      let at = 10;
      let condition: PlainCondition = 'always';
      if (name === 'equals') {
        const length = view.getUint32(10);
        condition = { equals: copyBytes(bytes, 14, 14 + length) };
        at = 14 + length;
      } else {
        condition = name;
      }
      const conditional = condition === 'always' ? {} : { if: condition };
      if (bytes[0] === DELETE) return { kind: 'delete', ...conditional };
      if (bytes[0] === EXPIRE) return { kind: 'expire', ttlMs: ttlMs ?? null };
      return {
        kind: 'set',
        value: copyBytes(bytes, at),
        ...(ttlMs === undefined ? {} : { ttlMs }),
        ...(keepTtl ? { keepTtl } : {}),
        ...conditional,
      };
    },
  };
}
