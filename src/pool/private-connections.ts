import type { BackendConnection } from './backend-connection.ts';
import { type CommandArg, encodeRequest } from './request-encoder.ts';
import type { BackendLink, Pending } from './server-link.ts';

/** Idle ones kept a server; more are closed. */
const KEPT = 8;
/** How long a change of the map waits for a command that waits at its server. */
const PATIENCE_MS = 1_000;

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

  /** Resolves once what waits is answered; ends, after a moment, what is not: its outcome is unknown then. */
  async answered(): Promise<void> {
    const busy = [...this.#all].filter((one) => one.pending > 0);
    for (const deadlineMs = performance.now() + PATIENCE_MS; busy.some((one) => one.pending > 0) && performance.now() < deadlineMs; )
      await new Promise((resolve) => setTimeout(resolve, 10));
    for (const one of busy) if (one.pending > 0) one.close();
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
