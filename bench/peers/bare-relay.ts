import cluster from 'node:cluster';
import { connect, createServer, type Socket } from 'node:net';

// What any proxy in Node must do and nothing else: read from clients, write to servers over one shared connection each, read from these, write to clients, with one write per socket
// and turn of the event loop. It looks for the ends of requests and answers, but not at keys: a client's requests all go to one server. Good for redis-benchmark's SET and GET
// only; an answer that comes in pieces is the one thing that it puts together.

interface Client {
  readonly socket: Socket;
  out: string;
}

class Upstream {
  readonly #socket: Socket;
  readonly #waiting: Client[] = [];
  #at = 0;
  #out = '';
  #rest = '';

  constructor(port: number) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk.toString('latin1')));
  }

  send(client: Client, requests: string): void {
    for (let at = 0; at >= 0; at = requests.indexOf('\r\n*', at + 1)) this.#waiting.push(client);
    if (this.#out === '') setImmediate(() => this.#flush());
    this.#out += requests;
  }

  #flush(): void {
    this.#socket.write(this.#out, 'latin1');
    this.#out = '';
  }

  #take(chunk: string): void {
    const text = this.#rest + chunk;
    let at = 0;
    for (let end = endOfAnswer(text, at); end > 0; end = endOfAnswer(text, at)) {
      const client = this.#waiting[this.#at++]!;
      if (client.out === '') setImmediate(() => flush(client));
      client.out += text.slice(at, end);
      at = end;
    }
    this.#rest = text.slice(at);
    if (this.#at > 4_096) this.#waiting.splice(0, this.#at);
    if (this.#at > 4_096) this.#at = 0;
  }
}

function flush(client: Client): void {
  client.socket.write(client.out, 'latin1');
  client.out = '';
}

/** Where an answer that begins at `at` ends; 0 when it is not all there. */
function endOfAnswer(text: string, at: number): number {
  const line = text.indexOf('\r\n', at);
  if (line < 0) return 0;
  const kind = text[at];
  if (kind === '*') {
    let end = line + 2;
    for (let left = Number(text.slice(at + 1, line)); left > 0 && end > 0; left--) end = endOfAnswer(text, end);
    return end;
  }
  const length = kind === '$' ? Number(text.slice(at + 1, line)) : -1;
  const end = length < 0 ? line + 2 : line + 4 + length;
  return end <= text.length ? end : 0;
}

/** Serves `port`, in as many processes as said, before servers of this machine. */
export function serveBareRelay({ port, workers, servers }: { port: number; workers: number; servers: readonly number[] }): void {
  if (workers > 1 && cluster.isPrimary) {
    for (let i = 0; i < workers; i++) cluster.fork();
    process.on('SIGTERM', () => {
      for (const worker of Object.values(cluster.workers ?? {})) worker?.kill();
      process.exit();
    });
    return;
  }
  const upstreams = servers.map((one) => new Upstream(one));
  let next = 0;
  createServer({ noDelay: true }, (socket) => {
    const client: Client = { socket, out: '' };
    const upstream = upstreams[next++ % upstreams.length]!;
    socket.on('data', (chunk: Buffer) => upstream.send(client, chunk.toString('latin1')));
    socket.on('error', () => socket.destroy());
  }).listen(port, '127.0.0.1');
}
