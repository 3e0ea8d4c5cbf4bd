import type { Bytes } from '../../src/base/bytes.ts';
import { GuardedCommands } from '../../src/pool/guarded-commands.ts';
import { type Argument, errorText, ServerLink } from '../../src/pool/moves/move-link.ts';
import type { RouterBarrier } from '../../src/pool/moves/move-options.ts';
import type { PoolMap } from '../../src/pool/pool-map.ts';
import type { Reply } from '../../src/shard/redis/reply.ts';

/** The least that a router is: a map, a connection to each server, and the guard for slots on the move. */
export class TestRouter {
  #map: PoolMap;
  readonly #links = new Map<string, ServerLink>();
  readonly #guarded: GuardedCommands<Reply>;
  readonly waitsMs: number[] = [];

  constructor(map: PoolMap, pull: (moveId: string, keys: readonly Bytes[]) => Promise<void>) {
    this.#map = map;
    this.#guarded = new GuardedCommands<Reply>({
      map: () => this.#map,
      send: (server, args) => this.#send(server, args),
      errorOf: errorText,
      pull,
    });
  }

  async call(
    name: string,
    keys: readonly string[],
    rest: readonly Argument[] = [],
    kind: 'read' | 'write' | 'pulled' = 'write',
  ): Promise<Reply> {
    const bytes = keys.map((key) => Buffer.from(key));
    const slot = this.#map.slotOf(bytes[0]!);
    const args = [name, ...bytes, ...rest];
    const startedMs = performance.now();
    const move = this.#map.moveOf(slot);
    const guarded = (move !== undefined && move.mode !== 'planned') || bytes.some((key) => this.#guarded.has(key));
    const reply = guarded
      ? await this.#guarded.run({ args, keys: bytes, write: kind !== 'read', scriptable: kind !== 'pulled' })
      : await this.#send(this.#map.ownerOf(slot), args);
    this.waitsMs.push(performance.now() - startedMs);
    return reply;
  }

  /** Takes the map; resolves when all that was begun before is answered. */
  async apply(map: PoolMap): Promise<void> {
    if (map.epoch <= this.#map.epoch) return;
    this.#map = map;
    const drained = this.#guarded.drained();
    await Promise.allSettled([...this.#links.values()].map((link) => link.raw(['PING'])));
    await drained;
  }

  close(): void {
    for (const link of this.#links.values()) link.close();
  }

  #send(server: number, args: readonly Argument[]): Promise<Reply> {
    const { name, address } = this.#map.servers[server]!;
    if (!('host' in address)) throw new Error('the tests use TCP');
    let link = this.#links.get(name);
    if (link === undefined || link.isOver) this.#links.set(name, (link = new ServerLink(address)));
    return link.raw(args);
  }
}

/** Routers of this process, as the engine sees them. */
export class LocalRouters implements RouterBarrier {
  readonly routers: TestRouter[] = [];

  async publish(map: PoolMap): Promise<void> {
    await Promise.all(this.routers.map((router) => router.apply(map)));
  }
}
