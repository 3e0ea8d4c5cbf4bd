import { randomBytes } from 'node:crypto';
import type { Bytes } from '../base/bytes.ts';
import { KIB } from '../base/units.ts';
import { isSameSecret } from '../door/access.ts';
import type { AskOptions, KeyspaceHandle } from '../node/keyspace-handle.ts';
import { redisSlot } from '../partition/redis-slot.ts';
import {
  COMMANDS,
  type CommandArgs,
  type CommandSpec,
  everySpec,
  findCommand,
  isSpec,
  keysOf,
  nameOf,
  resolveCommand,
} from '../shard/redis/command-table.ts';
import { CROSS_SLOT } from '../shard/redis/error-replies.ts';
import { errorReply, OK, type Reply, type TaggedReply } from '../shard/redis/reply.ts';
import { BlockedClients, type Blocking } from './blocked-clients.ts';
import type { ClusterSource, RedirectPolicy } from './cluster-source.ts';
import { redirectReply } from './codec/cluster-words.ts';
import { LOCAL_COMMANDS } from './commands/local-commands.ts';
import type { Connection } from './connection.ts';
import { replyOfFailure } from './failure-replies.ts';
import type { InfoSource } from './info-source.ts';
import { type LocalCommand, SILENT } from './local-command.ts';
import { OutputBuffers } from './output-buffers.ts';
import type { RespSettings } from './settings.ts';
import { allInOneSlot, splitAndJoin } from './split-and-join.ts';
import type { RespStats } from './stats.ts';
import { WatchedKeys } from './transaction.ts';
import { WaitingClients } from './waiting-clients.ts';

/** The keyspace that the RESP door serves: its commands and queries are Redis's, its answers Redis replies. */
export type RedisKeyspace<Value = unknown> = KeyspaceHandle<Value, CommandArgs, Reply, CommandArgs, Reply>;

const NOAUTH = errorReply('NOAUTH Authentication required.');

const QUEUED: TaggedReply = { kind: 'status', text: 'QUEUED' };
/** What takes effect inside MULTI too. */
const NOT_QUEUED: readonly string[] = ['multi', 'exec', 'discard', 'watch', 'quit', 'reset'];

/** As much as Node asks the system for at once. */
const INPUT_BYTES = 64 * KIB;

/** How each command is carried out, by its index in the table. */
interface Route {
  readonly kind: 'read' | 'write' | 'read-many' | 'write-many' | 'blocking' | 'split' | 'local' | 'none';
  /** Place of the key, for `read` and `write`. */
  readonly keyAt: number;
  readonly needsPassword: boolean;
  /** Its answer is left to chance, which the pure module does not have. */
  readonly needsSeed: boolean;
  readonly local: LocalCommand | undefined;
}

const SEEDED: readonly string[] = ['hrandfield', 'srandmember', 'zrandmember'];

const ROUTES: readonly Route[] = everySpec().map((spec) => {
  const needsPassword = !spec.flags.includes('no_auth');
  const local = LOCAL_COMMANDS.get(spec.name);
  const common = { keyAt: spec.firstKey, needsPassword, needsSeed: SEEDED.includes(spec.name), local };
  if (local) return { kind: 'local', ...common };
  switch (spec.route.kind) {
    case 'one-key':
      return { kind: spec.access === 'write' ? 'write' : 'read', ...common };
    case 'many-keys-one-slot':
      if (spec.flags.includes('blocking')) return { kind: 'blocking', ...common };
      return { kind: spec.access === 'write' ? 'write-many' : 'read-many', ...common };
    case 'split-and-join':
      return { kind: 'split', ...common };
    default:
      return { kind: 'none', ...common };
  }
});

/** What the connections of one server have in common, and the way of a request from its arguments to whoever carries it out. */
export class Door {
  readonly keyspace: RedisKeyspace;
  readonly settings: RespSettings;
  readonly stats: RespStats;
  readonly info: InfoSource;
  readonly buffers = new OutputBuffers();
  /** What connections read into, one after the other. */
  readonly input = Buffer.allocUnsafeSlow(INPUT_BYTES);
  readonly connections = new Map<number, Connection>();
  readonly watched = new WatchedKeys();
  readonly blocked: Blocking;
  /** Undefined on one machine. */
  readonly cluster: ClusterSource | undefined;
  readonly #redirects: RedirectPolicy;
  readonly startedMs = Date.now();
  readonly runId: string = randomBytes(20).toString('hex');
  readonly unixSocket: string | undefined;
  /** Where the TCP port is; 0 without one. */
  port = 0;
  #scheduled: Connection[] = [];
  #pausedUntilMs = 0;
  #pausesReads = false;
  #pauseTimer: NodeJS.Timeout | undefined;
  readonly #stopListening: () => void;

  constructor(options: {
    readonly keyspace: RedisKeyspace;
    readonly settings: RespSettings;
    readonly stats: RespStats;
    readonly info: InfoSource;
    readonly unixSocket?: string | undefined;
    readonly cluster?: ClusterSource | undefined;
    readonly redirects?: RedirectPolicy | undefined;
  }) {
    this.keyspace = options.keyspace;
    this.settings = options.settings;
    this.stats = options.stats;
    this.info = options.info;
    this.unixSocket = options.unixSocket;
    this.cluster = options.cluster;
    this.#redirects = options.redirects ?? 'auto';
    this.blocked = options.keyspace.isLocal ? new BlockedClients(options.keyspace) : new WaitingClients(options.keyspace);
    this.#stopListening = options.keyspace.onChange((key) => {
      this.watched.changed(key);
      if (key !== undefined) this.blocked.changed(key);
    });
  }

  // ── requests ──

  /** Starts the request that the connection's scanner has just found. */
  request(conn: Connection): void {
    const { scanner } = conn;
    const command = findCommand(scanner.bytes, scanner.starts[0], scanner.ends[0]);
    const args = scanner.args(0, command && nameOf(command));
    const spec = resolveCommand(args);
    this.stats.commands++;
    if (!isSpec(spec)) {
      conn.transaction.abort();
      const token = conn.open(UNKNOWN_SPEC);
      conn.settled(token, conn.authenticated ? spec : NOAUTH);
      return;
    }
    this.start(conn, spec, args);
  }

  /** Starts a request, or has the connection hold it. */
  start(conn: Connection, spec: CommandSpec, args: CommandArgs): void {
    const route = ROUTES[spec.index]!;
    if (route.needsPassword && !conn.authenticated) {
      this.stats.rejected[spec.index]! += 1;
      conn.settled(conn.open(spec), NOAUTH);
      return;
    }
    if (this.#pausedUntilMs !== 0 && this.isPaused(spec)) {
      conn.hold(spec, args, 'unpaused');
      return;
    }
    if (conn.transaction.isOpen && !NOT_QUEUED.includes(spec.name)) {
      this.#queue(conn, spec, args);
      return;
    }
    this.#carryOut(conn, spec, args, route);
    // Before anybody's next command: whoever waits for what this one has changed.
    this.blocked.serve();
  }

  #carryOut(conn: Connection, spec: CommandSpec, args: CommandArgs, route: Route): void {
    const { keyspace } = conn;
    if (this.cluster !== undefined && this.#isElsewhere(this.cluster, conn, spec, args, route)) return;
    switch (route.kind) {
      case 'read':
        this.stats.calls[spec.index]! += 1;
        keyspace.ask(args[route.keyAt]!, route.needsSeed ? withSeed(args) : args, conn, conn.open(spec), readOf(conn));
        return;
      case 'write':
        this.stats.calls[spec.index]! += 1;
        keyspace.submit(args[route.keyAt]!, args, conn, conn.open(spec));
        return;
      case 'split':
        this.stats.calls[spec.index]! += 1;
        splitAndJoin(keyspace, spec, args, conn, conn.open(spec), readOf(conn));
        return;
      case 'blocking': {
        this.stats.calls[spec.index]! += 1;
        const token = conn.open(spec);
        if (allInOneSlot(keysOf(spec, args))) this.blocked.start(conn, spec, args, token);
        else conn.settled(token, CROSS_SLOT);
        return;
      }
      case 'read-many':
      case 'write-many': {
        this.stats.calls[spec.index]! += 1;
        const keys = keysOf(spec, args);
        // None where their number is wrong: the module says so, whichever shard it is asked in.
        if (keys.length === 0) keys.push(args[1]!);
        const token = conn.open(spec);
        if (!allInOneSlot(keys)) conn.settled(token, CROSS_SLOT);
        else if (route.kind === 'read-many') keyspace.askMany(keys, args, conn, token, readOf(conn));
        else keyspace.submitMany(keys, args, conn, token);
        return;
      }
      case 'local':
        if (route.local!.waits && conn.inFlight > 0) conn.hold(spec, args, 'drained');
        else {
          this.stats.calls[spec.index]! += 1;
          this.#runLocal(route.local!, conn, spec, args);
        }
        return;
      default:
        conn.settled(conn.open(spec), errorReply(`ERR command '${spec.name}' is not served here`));
    }
  }

  /** Tells a client that knows the cluster where the keys of its command are; false when they may be asked for here. */
  #isElsewhere(cluster: ClusterSource, conn: Connection, spec: CommandSpec, args: CommandArgs, route: Route): boolean {
    if (this.#redirects === 'never' || !(conn.isRouting || this.#redirects === 'always')) return false;
    if (route.kind === 'local' || route.kind === 'none') return false;
    const keys = keysOf(spec, args);
    if (keys.length === 0 || !allInOneSlot(keys)) return false;
    const [key] = keys as [Bytes, ...Bytes[]];
    if (conn.readsReplicas && spec.access === 'read' && cluster.hasReplica(key)) return false;
    const address = cluster.leaderElsewhere(key);
    if (address === undefined) return false;
    this.stats.calls[spec.index]! += 1;
    conn.settled(conn.open(spec), redirectReply('MOVED', redisSlot(key), address));
    return true;
  }

  /** Keeps a command for EXEC, if it can be part of a transaction. */
  #queue(conn: Connection, spec: CommandSpec, args: CommandArgs): void {
    const { transaction } = conn;
    const token = conn.open(spec);
    const isOfItsOwn = spec.route.kind === 'keyspace' || ROUTES[spec.index]!.local?.waits === true;
    const refusal = isOfItsOwn
      ? errorReply(`ERR '${spec.name}' cannot be part of a transaction: it is not about keys of one slot`)
      : transaction.add({ spec, args });
    if (refusal === undefined) conn.settled(token, QUEUED);
    else {
      transaction.abort();
      conn.settled(token, refusal);
    }
  }

  /** What a local command answers as part of a transaction. */
  answer(conn: Connection, spec: CommandSpec, args: CommandArgs): Reply | Promise<Reply> {
    try {
      const reply = ROUTES[spec.index]!.local!.run({ door: this, conn, spec, args });
      return reply === SILENT ? OK : reply;
    } catch (error) {
      return replyOfFailure(error);
    }
  }

  #runLocal(local: LocalCommand, conn: Connection, spec: CommandSpec, args: CommandArgs): void {
    const token = conn.open(spec);
    let reply: ReturnType<LocalCommand['run']>;
    try {
      reply = local.run({ door: this, conn, spec, args });
    } catch (error) {
      reply = replyOfFailure(error);
    }
    if (reply === SILENT) conn.dropped(token);
    else if (reply instanceof Promise) {
      // What comes behind WATCH or FLUSHALL finds it done, though it be done elsewhere.
      if (!this.keyspace.isLocal) conn.waitFor(reply);
      reply.then(
        (answer) => conn.settled(token, answer),
        (error: unknown) => conn.settled(token, replyOfFailure(error)),
      );
    } else conn.settled(token, reply);
  }

  /** The command that a subcommand belongs to. */
  containerOf(spec: CommandSpec): CommandSpec {
    return COMMANDS.get(spec.name.split('|')[0]!)!;
  }

  /** CONFIG SET has changed something that open connections hold a copy of. */
  settingsChanged(): void {
    for (const conn of this.connections.values()) {
      conn.scanner.limits.bulkBytes = this.settings['proto-max-bulk-len'];
      // As in Redis: taking the password away lets everybody in; setting one leaves in who is in.
      if (this.settings.requirepass === '') conn.setAuthenticated(true);
    }
  }

  // ── connections ──

  forget(conn: Connection): void {
    this.blocked.forget(conn);
    conn.transaction.reset();
    if (this.connections.delete(conn.id)) this.stats.connections--;
  }

  /**
   * Has the connection send what it has, and go on, once all requests that this turn of the event loop brought have been read: one write for
   * all answers that come together, and no client wakes up on our core's time while others still wait to be read.
   */
  schedule(conn: Connection): void {
    if (conn.isScheduled) return;
    conn.isScheduled = true;
    if (this.#scheduled.push(conn) === 1) setImmediate(this.#runScheduled);
  }

  readonly #runScheduled = (): void => {
    const scheduled = this.#scheduled;
    this.#scheduled = [];
    for (const conn of scheduled) {
      conn.isScheduled = false;
      conn.run();
    }
  };

  // ── CLIENT PAUSE ──

  /** Whether a command of this kind has to wait. */
  isPaused(spec: CommandSpec): boolean {
    if (this.#pausedUntilMs <= Date.now()) return false;
    if (spec.name.startsWith('client|')) return false;
    return this.#pausesReads || spec.flags.includes('write');
  }

  pause(untilMs: number, pausesReads: boolean): void {
    this.#pausedUntilMs = Math.max(untilMs, this.#pausedUntilMs);
    this.#pausesReads = pausesReads;
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => this.unpause(), Math.min(this.#pausedUntilMs - Date.now(), 2 ** 31 - 1));
    this.#pauseTimer.unref();
  }

  unpause(): void {
    clearTimeout(this.#pauseTimer);
    this.#pausedUntilMs = 0;
    for (const conn of this.connections.values()) this.schedule(conn);
  }

  /** The server is closed. */
  stopListening(): void {
    this.#stopListening();
  }

  // ── the password ──

  isPassword(given: Bytes): boolean {
    return isSameSecret(given, this.settings.requirepass);
  }
}

const FROM_REPLICA: AskOptions = { read: 'local' };

/** How the connection wants its reads. */
function readOf(conn: Connection): AskOptions | undefined {
  return conn.readsReplicas ? FROM_REPLICA : undefined;
}

function withSeed(args: CommandArgs): CommandArgs {
  return Object.assign(args, { seed: Math.floor(Math.random() * 0x1_0000_0000) });
}

/** Stands in the statistics for what is no command. */
const UNKNOWN_SPEC = everySpec()[0]!;
