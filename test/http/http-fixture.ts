import { request as httpRequest, type IncomingMessage } from 'node:http';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../src/http/server.ts';
import { MemoryHttpStore } from './memory-http-store.ts';

// The server under test over a store in memory: one at a time, made anew by {@link serve}.

export let store: MemoryHttpStore;
export let server: HttpServer;
export let base: string;

export async function serve(options: Partial<HttpServerOptions> = {}): Promise<void> {
  store = new MemoryHttpStore();
  server = await startHttpServer({ store, host: '127.0.0.1', port: 0, version: '9.9.9', ...options });
  base = `http://127.0.0.1:${server.port}`;
}

export const keys = (key: string): string => `${base}/v1/keyspaces/default/keys/${key}`;
export const errorCode = async (response: Response): Promise<string> =>
  ((await response.json()) as { readonly error: { readonly code: string } }).error.code;

/** A request whose path goes out as it is, which `fetch` would normalise. */
export function raw(
  method: string,
  path: string,
  options: { headers?: Record<string, string>; body?: Buffer } = {},
): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port: server.port, method, path, headers: options.headers ?? {} }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(options.body);
  });
}
