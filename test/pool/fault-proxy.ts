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
  /** What the mover is answered instead. */
  readonly answer?: (chunk: Buffer) => Buffer;
}

/**
 * A TCP proxy before one server that cuts, delays and damages what the mover sends. Connections of others, told by the name that they give themselves, pass as they are. When a connection is
 * cut its client hears at once, while what was under way still reaches the server afterwards: the late packet of a dead mover.
 */
export class FaultProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  plan: FaultPlan = {};
  #targetPort: number;
  cuts = 0;
  lateChunks = 0;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
  }

  static async start(targetPort: number): Promise<FaultProxy> {
    const server = createServer({ noDelay: true });
    const proxy = new FaultProxy(server, targetPort);
    server.on('connection', (socket) => proxy.#join(socket, proxy.#targetPort));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** From now on another server is behind the address, as when a replica takes over; what was connected to the one before is cut. */
  failOver(targetPort: number): void {
    this.#targetPort = targetPort;
    for (const socket of this.#sockets) socket.destroy();
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
      if (!client.destroyed) client.write(isMover && this.plan.answer ? this.plan.answer(chunk) : chunk);
    });
  }
}
