import { connect, createServer, type Server, type Socket } from 'node:net';

/** What the network between two processes does to them. */
export type LinkState =
  | { readonly kind: 'open'; readonly delayMs: number }
  /** Connections break and none is taken. */
  | { readonly kind: 'cut' }
  /** Connections stay and nothing passes, as when packets are lost: neither end hears of it. What was sent passes when the link opens again. */
  | { readonly kind: 'silent' };

/** A TCP proxy before one server, whose users see it as the network that it plays. Chunks pass in order, whole, in both directions. */
export class FaultyLink {
  readonly #server: Server;
  readonly #pipes = new Set<Pipe>();
  #state: LinkState = { kind: 'open', delayMs: 0 };
  #bytes = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(targetPort: number): Promise<FaultyLink> {
    const server = createServer({ noDelay: true });
    const link = new FaultyLink(server);
    server.on('connection', (socket) => link.#join(socket, targetPort));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return link;
  }

  get port(): number {
    return (this.#server.address() as { readonly port: number }).port;
  }

  /** That have passed, both ways. */
  get bytes(): number {
    return this.#bytes;
  }

  open(delayMs = 0): void {
    this.#become({ kind: 'open', delayMs });
  }

  cut(): void {
    this.#become({ kind: 'cut' });
  }

  silence(): void {
    this.#become({ kind: 'silent' });
  }

  async close(): Promise<void> {
    for (const pipe of this.#pipes) pipe.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #become(state: LinkState): void {
    this.#state = state;
    for (const pipe of [...this.#pipes]) {
      if (state.kind === 'cut') pipe.destroy();
      else pipe.flush();
    }
  }

  #join(client: Socket, targetPort: number): void {
    if (this.#state.kind === 'cut') {
      client.on('error', () => {});
      client.destroy();
      return;
    }
    const server = connect({ port: targetPort, host: '127.0.0.1', noDelay: true });
    const count = (bytes: number): void => {
      this.#bytes += bytes;
    };
    const pipes = [
      [client, server],
      [server, client],
    ].map(([from, to]) => new Pipe(from!, to!, () => this.#state, count));
    for (const pipe of pipes) {
      this.#pipes.add(pipe);
      pipe.onClose = () => {
        for (const one of pipes) {
          this.#pipes.delete(one);
          one.destroy();
        }
      };
    }
  }
}

/** One direction of a connection. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #state: () => LinkState;
  readonly #count: (bytes: number) => void;
  #waiting: { readonly chunk: Buffer; readonly dueMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  onClose: () => void = () => {};

  constructor(from: Socket, to: Socket, state: () => LinkState, count: (bytes: number) => void) {
    this.#from = from;
    this.#to = to;
    this.#state = state;
    this.#count = count;
    from.on('error', () => {});
    from.on('close', () => this.onClose());
    from.on('data', (chunk: Buffer) => {
      const now = this.#state();
      this.#waiting.push({ chunk, dueMs: performance.now() + (now.kind === 'open' ? now.delayMs : 0) });
      this.flush();
    });
  }

  /** Passes on what is due. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#state().kind !== 'open') {
      // So that the sender feels it once its own buffers are full.
      this.#from.pause();
      return;
    }
    this.#from.resume();
    const nowMs = performance.now();
    while (this.#waiting.length > 0 && this.#waiting[0]!.dueMs <= nowMs) {
      const { chunk } = this.#waiting.shift()!;
      this.#count(chunk.length);
      if (!this.#to.destroyed) this.#to.write(chunk);
    }
    const next = this.#waiting[0];
    if (next) this.#timer = setTimeout(() => this.flush(), Math.max(1, next.dueMs - nowMs));
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
    this.#from.destroy();
  }
}
