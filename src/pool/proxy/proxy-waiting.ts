import type { Bytes } from '../../base/bytes.ts';
import type { RoutedCommand } from '../command-table.ts';
import type { ReplySink } from '../reply-sink.ts';
import { encodeRequest } from '../request-encoder.ts';
import { isNilReply, withTimeLeft } from '../waiting-commands.ts';
import type { ProxyClient } from './proxy-client.ts';
import { keysOfRequest, oneServer } from './proxy-dispatch.ts';
import { ASKING, MOST_REDIRECTS } from './proxy-redirects.ts';
import { failureReply } from './proxy-wire.ts';

// Commands that wait at their server for the proxy's clients: each over a connection of its own, from server to server when its keys are on the move.

const NOBODY: ReplySink<unknown> = { onReply: () => undefined, onFailure: () => undefined };

/** Sends a command that may wait at its server over a connection of its own; nothing behind it starts before its answer. */
export function block(client: ProxyClient, command: RoutedCommand): void {
  if (client.inFlight > 0) {
    client.hold('drained');
    return;
  }
  const keys = keysOfRequest(client, command);
  const server = oneServer(client, command, keys, true);
  if (typeof server !== 'number') client.reply(command, server);
  else {
    client.isBlocked = true;
    waitAt({ client, command, keys: keys ?? [], token: client.open(command, server, 1) }, server, client.scanner.args());
  }
}

/** A command that waits at a server for a client. */
interface Waiting {
  /** How often a cluster has sent it on. */
  redirects?: number;
  readonly client: ProxyClient;
  readonly command: RoutedCommand;
  readonly keys: readonly Bytes[];
  readonly token: number;
}

function waitAt(waiting: Waiting, server: number, args: readonly Bytes[], asks = false): void {
  const { client, command, token } = waiting;
  const { pool } = client;
  const sinceMs = performance.now();
  let isMoved = false;
  const own = pool.privates.take(pool.backends(client.version)[server]!, true, {
    onMoved: () => {
      isMoved = true;
    },
  });
  own.keys = [...waiting.keys];
  own.isWaiting = true;
  client.abandon = () => pool.privates.drop(own);
  pool.stats.server(server).requests++;
  if (asks) own.connection.send(ASKING, NOBODY, undefined);
  own.connection.send(
    encodeRequest(args),
    {
      onReply: (_, bytes, start, end) => {
        client.abandon = undefined;
        pool.privates.give(own);
        const { redirects = 0 } = waiting;
        const found = redirects < MOST_REDIRECTS ? pool.special?.redirected?.(bytes, start, end, server) : undefined;
        if (found !== undefined) {
          waiting.redirects = redirects + 1;
          waitAt(waiting, found.server, args, found.isAsk);
          return;
        }
        const again =
          isMoved && isNilReply(bytes, start)
            ? withTimeLeft(command.name, { argCount: args.length, arg: (i) => args[i]! }, performance.now() - sinceMs)
            : undefined;
        if (again !== undefined) waitElsewhere(waiting, again);
        else {
          client.onReply(token, bytes, start, end);
          unblock(client);
        }
      },
      onFailure: (_, error) => {
        client.onFailure(token, error);
        unblock(client);
      },
    },
    undefined,
  );
}

/** Its keys are on their way: it goes on waiting where they will be. */
function waitElsewhere(waiting: Waiting, args: readonly Bytes[]): void {
  const { client, command, keys, token } = waiting;
  client.pool.special!.bring(keys).then(
    () => {
      if (client.isClosed) return;
      const server = oneServer(client, command, keys, true);
      if (typeof server === 'number') waitAt(waiting, server, args);
      else {
        client.answer(token, server);
        unblock(client);
      }
    },
    (error: unknown) => {
      client.answer(token, failureReply(error));
      unblock(client);
    },
  );
}

function unblock(client: ProxyClient): void {
  client.isBlocked = false;
  client.abandon = undefined;
  client.release();
}
