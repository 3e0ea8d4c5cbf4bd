import type { ServerLink } from './move-link.ts';
import { fieldsOfInfo } from './server-info.ts';

/** How long replicas may take to confirm. */
const WAIT_MS = 500;
/** Whether a server has replicas is asked so often. */
const ASKED_EVERY_MS = 1_000;

/** Asks servers whether all their replicas have what was written to them. */
export class ReplicaConfirmations {
  /** How many replicas each server had when it was asked last. */
  readonly #counts = new Map<ServerLink, { readonly count: number; readonly askedMs: number }>();
  /** The WAIT that runs at a server, and the one that comes after it. */
  readonly #waits = new Map<ServerLink, { readonly running: Promise<string | undefined>; next: Promise<string | undefined> | undefined }>();

  /**
   * Waits until a server's replicas have what was written on this connection before; undefined when they do, else `0 of 1`. Those who ask while one WAIT runs share the next: each
   * holds up the connection, and one after the other they would look like a server that does not answer.
   *
   * @throws KF_POOL_SERVER_LOST.
   */
  missing(link: ServerLink): Promise<string | undefined> {
    const asked = this.#waits.get(link);
    if (asked === undefined) return this.#start(link);
    const again = (): Promise<string | undefined> => this.#start(link);
    return (asked.next ??= asked.running.then(again, again));
  }

  #start(link: ServerLink): Promise<string | undefined> {
    const running = this.#wait(link).finally(() => {
      if (this.#waits.get(link)?.running === running) this.#waits.delete(link);
    });
    this.#waits.set(link, { running, next: undefined });
    return running;
  }

  async #wait(link: ServerLink): Promise<string | undefined> {
    const wanted = await this.#replicasOf(link, ASKED_EVERY_MS);
    if (wanted === 0) return undefined;
    const confirmed = Number(await link.call(['WAIT', wanted, WAIT_MS]));
    // One that has left since is waited for no more.
    if (confirmed >= wanted || confirmed >= (await this.#replicasOf(link, 0))) return undefined;
    return `${confirmed} of ${wanted}`;
  }

  async #replicasOf(link: ServerLink, maxAgeMs: number): Promise<number> {
    const known = this.#counts.get(link);
    const nowMs = performance.now();
    if (known !== undefined && nowMs - known.askedMs < maxAgeMs) return known.count;
    const replicas = [...fieldsOfInfo(await link.call(['INFO', 'replication']))].filter(
      ([field, value]) => /^slave\d+$/.test(field) && value.includes('state=online'),
    );
    this.#counts.set(link, { count: replicas.length, askedMs: nowMs });
    return replicas.length;
  }
}
