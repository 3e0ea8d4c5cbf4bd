import type { Bytes } from '../base/bytes.ts';
import type { KeyfleetError } from '../base/errors.ts';
import { decimal } from '../resp/codec/ascii.ts';
import { isReservedKey } from './guard-scripts.ts';
import { latin1Slice } from './latin1.ts';
import type { ProxyClient } from './proxy-client.ts';
import type { JoinKind } from './proxy-commands.ts';
import { elementsOf, stringOf } from './proxy-wire.ts';
import type { ReplySink } from './reply-sink.ts';

/**
 * Makes the answers of several servers one. The token of a part is its index. The first error is the answer when there is one; the other
 * parts may have been carried out all the same.
 */
export class Join implements ReplySink<number> {
  readonly #client: ProxyClient;
  readonly #token: number;
  readonly #how: JoinKind;
  /** For `array`: where each element of each part stands in the answer. */
  readonly #orders: readonly (readonly number[])[];
  #missing: number;
  #sum = 0;
  #error: Bytes | undefined;
  #failure: KeyfleetError | undefined;
  #first: Bytes | undefined;
  readonly #pieces: (Bytes | undefined)[];
  #flags: number[] | undefined;
  #seen: Set<string> | undefined;

  constructor(client: ProxyClient, token: number, how: JoinKind, parts: number, orders: readonly (readonly number[])[] = []) {
    this.#client = client;
    this.#token = token;
    this.#how = how;
    this.#missing = parts;
    this.#orders = orders;
    this.#pieces = new Array<Bytes | undefined>(orders.reduce((sum, { length }) => sum + length, 0)).fill(undefined);
  }

  onReply(part: number, bytes: Bytes, start: number, end: number): void {
    if (bytes[start] === MINUS) this.#error ??= bytes.subarray(start, end);
    else this.#take(part, bytes, start, end);
    this.#done();
  }

  #take(part: number, bytes: Bytes, start: number, end: number): void {
    this.#first ??= bytes.subarray(start, end);
    if (this.#how === 'sum') {
      const value = decimal(bytes, start + 1, end - 2);
      if (bytes[start] === COLON && Number.isSafeInteger(value)) this.#sum += value;
      else this.#error ??= BAD_ANSWER;
    } else if (this.#how === 'array' || this.#how === 'concat' || this.#how === 'every') {
      const elements = elementsOf(bytes, start, end);
      const orders = this.#orders[part];
      if (elements === undefined || (this.#how === 'array' && orders?.length !== elements.bounds.length)) this.#error ??= BAD_ANSWER;
      else if (this.#how === 'every') {
        const flags = elements.bounds.map(([from]) => (elements.chunk[from + 1] === ONE ? 1 : 0));
        this.#flags = this.#flags?.map((flag, i) => flag & (flags[i] ?? 0)) ?? flags;
      } else if (this.#how === 'array')
        elements.bounds.forEach(([from, to], i) => {
          this.#pieces[orders![i]!] = elements.chunk.subarray(from, to);
        });
      else for (const [from, to] of elements.bounds) this.#addKey(elements.chunk.subarray(from, to));
    }
  }

  /** Of keys that several servers name only the first counts. */
  dropsDuplicates(): void {
    this.#seen = new Set();
  }

  #addKey(element: Bytes): void {
    const key = stringOf(element);
    if (isReservedKey(key)) return;
    if (this.#seen !== undefined) {
      const name = latin1Slice(key);
      if (this.#seen.has(name)) return;
      this.#seen.add(name);
    }
    this.#pieces.push(element);
  }

  onFailure(_part: number, error: KeyfleetError): void {
    this.#failure ??= error;
    this.#done();
  }

  #done(): void {
    if (--this.#missing > 0) return;
    const client = this.#client;
    if (this.#failure) client.onFailure(this.#token, this.#failure);
    else {
      const bytes = this.#error ?? this.#joined();
      client.onReply(this.#token, bytes, 0, bytes.length);
    }
  }

  #joined(): Bytes {
    switch (this.#how) {
      case 'sum':
        return Buffer.from(`:${this.#sum}\r\n`, 'latin1');
      case 'every':
        return Buffer.from(`*${this.#flags!.length}\r\n${this.#flags!.map((flag) => `:${flag}\r\n`).join('')}`, 'latin1');
      case 'array':
      case 'concat':
        return Buffer.concat([Buffer.from(`*${this.#pieces.length}\r\n`, 'latin1'), ...(this.#pieces as Bytes[])]);
      default:
        return this.#first!;
    }
  }
}

const MINUS = 45;
const COLON = 58;
const ONE = 49;
const BAD_ANSWER: Bytes = Buffer.from('-ERR the servers gave answers that cannot be joined\r\n');
