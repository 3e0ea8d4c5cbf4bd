import { type AddressInfo, createServer, type Socket } from 'node:net';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { type PoolSnapshot, prometheusText, twemproxyJson } from './proxy-snapshot.ts';

export interface StatsServerOptions {
  readonly host: string;
  readonly port: number;
  readonly version: string;
  readonly read: () => Promise<readonly PoolSnapshot[]>;
  /** Numbers that old are shown again instead of being gathered anew; 0: never. */
  readonly intervalMs: number;
}

export interface StatsServer {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

/** Whoever has not said within this what he wants gets the JSON, as from nutcracker, which reads nothing at all. */
const SILENCE_MS = 150;
const REQUEST_BYTES = 8 * 1024;

/**
 * One port for two kinds of readers: who connects and says nothing gets nutcracker's JSON and the end of the connection; who asks by HTTP gets
 * `/metrics` for Prometheus, and the JSON for any other path.
 *
 * @throws KF_LISTEN_FAILED
 */
export async function startStatsServer({ host, port, version, read, intervalMs }: StatsServerOptions): Promise<StatsServer> {
  const gather = gathered(read, intervalMs);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let text = '';
    let isAnswered = false;
    const answer = async (): Promise<void> => {
      if (isAnswered) return;
      isAnswered = true;
      clearTimeout(timer);
      const pools = await gather();
      if (!/^[A-Z]+ /.test(text)) {
        socket.end(twemproxyJson(pools, version));
        return;
      }
      const isMetrics = /^GET \/metrics[ ?]/.test(text);
      const body = isMetrics ? prometheusText(pools) : twemproxyJson(pools, version);
      const type = isMetrics ? 'text/plain; version=0.0.4; charset=utf-8' : 'application/json';
      socket.end(
        `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${text.startsWith('HEAD') ? '' : body}`,
      );
    };
    const timer = setTimeout(() => void answer().catch(() => socket.destroy()), SILENCE_MS);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1', 0, Math.min(chunk.length, REQUEST_BYTES));
      if (text.includes('\r\n\r\n') || text.length > REQUEST_BYTES) void answer().catch(() => socket.destroy());
    });
    socket.on('end', () => void answer().catch(() => socket.destroy()));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      clearTimeout(timer);
      sockets.delete(socket);
    });
    socket.setTimeout(10_000, () => socket.destroy());
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new KeyfleetError(
          'KF_LISTEN_FAILED',
          `cannot listen on ${host}:${port} for statistics: ${messageOf(error)}; another port: -s PORT, none: -s 0`,
          {
            cause: error,
          },
        ),
      ),
    );
    server.listen(port, host, () => {
      server.removeAllListeners('error');
      server.on('error', () => undefined);
      resolve();
    });
  });
  const bound = server.address() as AddressInfo;
  return {
    host: bound.address,
    port: bound.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** `read`, at most once in `intervalMs`; those who ask at the same time share one answer. */
function gathered<Answer>(read: () => Promise<Answer>, intervalMs: number): () => Promise<Answer> {
  let last: Promise<Answer> | undefined;
  let lastMs = 0;
  return () => {
    const nowMs = performance.now();
    if (last === undefined || nowMs - lastMs >= intervalMs) {
      lastMs = nowMs;
      last = read();
      last.catch(() => {
        last = undefined;
      });
    }
    return last;
  };
}
