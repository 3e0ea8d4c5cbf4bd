/** A router's side of the leases: takes maps from the pool's owner, confirms them, and knows whether it may send. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bytes } from '../base/bytes.ts';
import { type ErrorCode, KeyfleetError, messageOf } from '../base/errors.ts';
import type { PoolConfig, PoolControl } from './pool-config.ts';
import { PoolMap, type PoolMapJson } from './pool-map.ts';

export interface FollowerPorts {
  readonly config: PoolConfig;
  /** Takes the map; resolves when all that was begun before is answered. */
  apply(map: PoolMap): Promise<void>;
  /** Ends all connections to the servers, and begins anew with others, named after the id. */
  begin(id: string): void;
  foregroundP99Ms?(): number | undefined;
  /** The owner does not answer; once for every time that it is lost. */
  onLost?(why: string): void;
  /** It answers, for the first time or again. */
  onFound?(epoch: number): void;
}

const WAIT_MS = 500;

export class PoolFollower {
  readonly #control: PoolControl;
  readonly #password: string | undefined;
  readonly #ports: FollowerPorts;
  #id = '';
  #epoch = 0;
  #leaseUntilMs = 0;
  #closed = false;
  /** Undefined before the first attempt. */
  #isFound: boolean | undefined;
  #refusal: KeyfleetError | undefined;
  readonly #running: Promise<void>;

  /** @throws KF_CONFIG when the file of the password cannot be read. */
  constructor(control: PoolControl, ports: FollowerPorts) {
    this.#control = control;
    this.#password = control.password ?? (control.passwordFile === undefined ? undefined : firstLine(control.passwordFile));
    this.#ports = ports;
    this.#begin();
    this.#running = this.#run();
  }

  /** Whether operations may be sent now: asked before each of them. */
  get maySend(): boolean {
    return this.#epoch > 0 && performance.now() < this.#leaseUntilMs;
  }

  /** Why the owner will not have this router, when waiting does not help: a wrong password, another pool. */
  get refusal(): KeyfleetError | undefined {
    return this.#refusal;
  }

  async pull(move: string, keys: readonly Bytes[]): Promise<void> {
    await this.#ask('pull', { move, keys: keys.map((key) => Buffer.from(key).toString('base64')) });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#leaseUntilMs = 0;
    await this.#running;
    await this.#ask('routers/leave', { id: this.#id }).catch(() => undefined);
  }

  #begin(): void {
    this.#id = randomBytes(6).toString('hex');
    this.#epoch = 0;
    this.#leaseUntilMs = 0;
    this.#ports.begin(this.#id);
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const askedMs = performance.now();
      try {
        const p99 = this.#ports.foregroundP99Ms?.();
        const { leaseMs, map } = await this.#ask<{ leaseMs: number; map?: PoolMapJson }>('routers/renew', {
          id: this.#id,
          epoch: this.#epoch,
          waitMs: WAIT_MS,
          ...(p99 === undefined ? {} : { foregroundP99Ms: p99 }),
        });
        if (map !== undefined) {
          const newer = PoolMap.fromJson(map, this.#ports.config);
          const applied = this.#ports.apply(newer);
          this.#leaseUntilMs = askedMs + leaseMs;
          const first = this.#epoch === 0;
          if (first) this.#epoch = newer.epoch;
          await this.#renewWhile(applied);
          this.#epoch = newer.epoch;
        } else this.#leaseUntilMs = askedMs + leaseMs;
        if (!this.#isFound) this.#ports.onFound?.(this.#epoch);
        this.#isFound = true;
        this.#refusal = undefined;
      } catch (error) {
        if (this.#isFound !== false && !this.#closed) this.#ports.onLost?.(messageOf(error));
        this.#isFound = false;
        const isFenced = error instanceof KeyfleetError && error.code === 'KF_POOL_ROUTER_FENCED';
        this.#refusal = error instanceof KeyfleetError && !error.retryable && !isFenced ? error : undefined;
        if (isFenced) this.#begin();
        await sleep(100);
      }
    }
  }

  /** The lease lasts while what was begun is answered; the map is not confirmed yet. */
  async #renewWhile(applied: Promise<void>): Promise<void> {
    let done = false;
    const end = applied.finally(() => {
      done = true;
    });
    while (!done && !this.#closed) {
      await Promise.race([end, sleep(WAIT_MS)]);
      if (done) break;
      const askedMs = performance.now();
      const { leaseMs } = await this.#ask<{ leaseMs: number }>('routers/renew', { id: this.#id, epoch: this.#epoch, waitMs: 0 });
      this.#leaseUntilMs = askedMs + leaseMs;
    }
    await end;
  }

  async #ask<T = object>(path: string, body: object): Promise<T> {
    let response: Response;
    try {
      response = await fetch(new URL(`/v1/${path}`, this.#control.url), {
        method: 'POST',
        headers: this.#password === undefined ? {} : { authorization: `Bearer ${this.#password}` },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
    } catch (error) {
      throw new KeyfleetError('KF_UNREACHABLE', `the owner of the pool does not answer at ${this.#control.url}: ${messageOf(error)}`, {
        retryable: true,
      });
    }
    const answer = (await response.json()) as T & {
      readonly error?: { readonly code: ErrorCode; readonly message: string; readonly retryable: boolean };
    };
    if (answer.error) throw new KeyfleetError(answer.error.code, answer.error.message, { retryable: answer.error.retryable });
    return answer;
  }
}

function firstLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').split(/\r?\n/, 1)[0]!;
  } catch (error) {
    throw new KeyfleetError('KF_CONFIG', `owner_password_file: ${messageOf(error)}`, { cause: error });
  }
}
