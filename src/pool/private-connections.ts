import type { BackendConnection } from './backend-connection.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';
import type { BackendLink, Pending } from './server-link.ts';

/** Idle ones kept a server; more are closed. */
const KEPT = 8;

/** Connections for commands that wait at the server (BLPOP, XREAD BLOCK, …): one command each at a time, kept for the next. */
export class PrivateConnections {
  readonly #idle = new Map<BackendLink, BackendConnection[]>();
  readonly #all = new Set<BackendConnection>();

  send(link: BackendLink, args: readonly CommandArg[], pending: Pending): void {
    const connection = this.#idle.get(link)?.pop() ?? this.#open(link);
    connection.send(
      encodeRequest(args),
      {
        onReply: (token, bytes, start) => {
          this.#keep(link, connection);
          link.onReply(token, bytes, start);
        },
        onFailure: (token, error) => link.onFailure(token, error),
      },
      pending,
    );
  }

  close(): void {
    for (const connection of [...this.#all]) connection.close();
  }

  #open(link: BackendLink): BackendConnection {
    const connection: BackendConnection = link.backend.openPrivate(
      {
        onClose: () => {
          this.#all.delete(connection);
          const idle = this.#idle.get(link);
          const at = idle?.indexOf(connection) ?? -1;
          if (at >= 0) idle!.splice(at, 1);
        },
      },
      { timeoutMs: undefined },
    );
    this.#all.add(connection);
    return connection;
  }

  #keep(link: BackendLink, connection: BackendConnection): void {
    const idle = this.#idle.get(link) ?? [];
    this.#idle.set(link, idle);
    if (idle.length < KEPT) idle.push(connection);
    else connection.close();
  }
}
