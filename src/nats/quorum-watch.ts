import type { NatsConnection } from '@nats-io/transport-node';

// A NATS server that is cut off from the others lives on, and so do the connections to it; but no log takes an entry from there, and no other node
// hears of us. The client cannot know. So the server is asked now and then for what only one with a quorum behind it answers; when it does not, another is taken
// that does. Where none does, it is no use, and a node would lose what is on its way to and from it.

export interface QuorumWatchOptions {
  /** How often it is asked, and how long it has to answer. Default: 2,000. */
  readonly everyMs?: number;
  /** Answers in a row that say no, or do not come, until another server is taken. Default: 2. */
  readonly failures?: number;
  /** Whether any server has a quorum behind it. Asked before a server is left that lives: else what is on its way there would be lost for nothing. */
  readonly isElsewhere: () => Promise<boolean>;
}

/** Where no server has a quorum they are asked more and more seldom. */
const LONGEST_PAUSE_MS = 30_000;
const CLUSTER_NOT_AVAILABLE = 10008;

/** A connection often comes back to the server that it left; then it leaves again, so many times at most. */
const MAX_TURNS = 4;
const TURN_MS = 300;

/** Watches until the connection is closed. */
export function watchQuorum(connection: NatsConnection, { everyMs = 2_000, failures = 2, isElsewhere }: QuorumWatchOptions): void {
  let failed = 0;
  let pauseMs = everyMs;
  let timer: NodeJS.Timeout;
  const look = async (): Promise<void> => {
    if (await hasQuorum(connection, everyMs)) {
      failed = 0;
      pauseMs = everyMs;
    } else if (++failed >= failures && !connection.isClosed()) {
      failed = 0;
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      if (!(await lives(connection, everyMs)) || (await isElsewhere())) await leaveServer(connection);
    }
    arm();
  };
  const arm = (): void => {
    if (connection.isClosed()) return;
    timer = setTimeout(look, failed > 0 ? everyMs : pauseMs);
    timer.unref();
  };
  arm();
  void connection.closed().then(() => clearTimeout(timer));
}

async function leaveServer(connection: NatsConnection): Promise<void> {
  const left = connection.getServer();
  for (let turn = 0; turn < MAX_TURNS && !connection.isClosed() && connection.getServer() === left; turn++) {
    await connection.reconnect().catch(() => {});
    await new Promise<void>((resolve) => setTimeout(resolve, TURN_MS).unref());
  }
}

/** The connection's server answers for itself. */
async function lives(connection: NatsConnection, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  const answered = connection.flush().then(
    () => true,
    () => false,
  );
  return Promise.race([answered, late]).finally(() => clearTimeout(timer));
}

/** Only the servers' leader answers this, or one that has not heard of any says so. */
export async function hasQuorum(connection: NatsConnection, timeoutMs: number): Promise<boolean> {
  try {
    const { error } = (await connection.request('$JS.API.INFO', '', { timeout: timeoutMs })).json<{
      readonly error?: { readonly err_code: number };
    }>();
    return error?.err_code !== CLUSTER_NOT_AVAILABLE;
  } catch {
    return false;
  }
}
