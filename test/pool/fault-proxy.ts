import { connect, createServer, type Server, type Socket } from 'node:net';

/** What becomes of a chunk that a client sends: passed on, late or changed. */
export interface FaultPlan {
  /** Milliseconds that the next chunk to the server waits; 0 for none. */
  readonly delayMs?: () => number;
  /** True to cut the connection at this chunk, which the server still gets, but late. */
  readonly cuts?: (chunk: Buffer) => boolean;
  /** When. */
  readonly late?: () => Promise<unknown>;
  readonly change?: (chunk: Buffer) => Buffer;
}

/**
 * A TCP proxy before one server that cuts, delays and damages what the mover sends. Connections of others, told by the name that they give themselves, pass as they are. When a connection is
 * cut its client hears at once, while what was under way still reaches the server afterwards: the late packet of a dead mover.
 */
export class FaultProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  plan: FaultPlan = {};
  cuts = 0;
  lateChunks = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(targetPort: number): Promise<FaultProxy> {
    const server = createServer({ noDelay: true });
    const proxy = new FaultProxy(server);
    server.on('connection', (socket) => proxy.#join(socket, targetPort));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, targetPort: number): void {
    const server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true });
    let isMover: boolean | undefined;
    let isCut = false;
    let queue = Promise.resolve();
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        this.#sockets.delete(one);
        if (!isCut) other.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => {
      isMover ??= chunk.includes('kf:mover');
      if (!isMover) {
        server.write(chunk);
        return;
      }
      const { delayMs, cuts, late, change } = this.plan;
      const cut = cuts?.(chunk) === true;
      const waitMs = cut ? 0 : (delayMs?.() ?? 0);
      const bytes = change ? change(chunk) : chunk;
      if (cut) {
        this.cuts++;
        isCut = true;
        client.destroy();
      }
      queue = queue.then(async () => {
        if (cut) await late?.();
        if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
        if (isCut) this.lateChunks++;
        if (server.destroyed) return;
        if (cut) server.end(bytes);
        else server.write(bytes);
      });
    });
    server.on('data', (chunk: Buffer) => {
      if (!client.destroyed) client.write(chunk);
    });
  }
}
