import { createServer, type Server } from 'node:http';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import type { UpPlan } from './up-plan.ts';

// `keyfleet up start NAME` and its like talk to the `keyfleet up` that runs: over HTTP on loopback, with the token of its up.json, which nobody else
// can read. The port also keeps a second one from running the same directory.

/** What a running `keyfleet up` can be asked for; each answers with what it did, for people. */
export interface UpActions {
  list(): Promise<string>;
  start(name: string): Promise<string>;
  stop(name: string): Promise<string>;
  add(): Promise<string>;
  remove(name: string): Promise<string>;
}

const HOST = '127.0.0.1';
const TIMEOUT_MS = 120_000;

/** @throws KF_LISTEN_FAILED when the directory is being run, or something else has its port. */
export async function serveControl({ controlPort, token }: UpPlan, actions: UpActions): Promise<{ close(): void }> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (request.method !== 'POST' || request.headers.authorization !== `Bearer ${token}`) {
      answer(403, { code: 'KF_UNAUTHORIZED', message: 'the token of up.json is needed' });
      return;
    }
    const [, action = '', name = ''] = (request.url ?? '').split('/').map(decodeURIComponent);
    act(actions, action, name).then(
      (text) => answer(200, { text }),
      (error: unknown) => answer(400, { code: isKeyfleetError(error) ? error.code : 'KF_INTERNAL', message: messageOf(error) }),
    );
  });
  await listen(server, controlPort);
  return {
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** @throws KF_UNREACHABLE when none runs there; what it answers. */
export async function askControl({ controlPort, token }: UpPlan, action: keyof UpActions, name = ''): Promise<string> {
  let response: Response;
  try {
    response = await fetch(`http://${HOST}:${controlPort}/${action}/${encodeURIComponent(name)}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new KeyfleetError('KF_UNREACHABLE', 'no `keyfleet up` runs in this directory; is --dir right?', { cause: error });
  }
  const body = (await response.json()) as { readonly text?: string; readonly code?: `KF_${string}`; readonly message?: string };
  if (body.text !== undefined) return body.text;
  throw new KeyfleetError(body.code ?? 'KF_INTERNAL', body.message ?? `it answers ${response.status}`);
}

function act(actions: UpActions, action: string, name: string): Promise<string> {
  switch (action) {
    case 'list':
    case 'add':
      return actions[action]();
    case 'start':
    case 'stop':
    case 'remove':
      return actions[action](name);
    default:
      return Promise.reject(new KeyfleetError('KF_USAGE', `${action} cannot be asked for`));
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'a `keyfleet up` runs in this directory already, or another program has its port' : error.message;
      reject(new KeyfleetError('KF_LISTEN_FAILED', `${HOST}:${port}: ${why}`, { cause: error }));
    });
    server.listen(port, HOST, resolve);
  });
}
