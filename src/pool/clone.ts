/**
 * Moves a whole server to another address by replication: the new one follows until it has everything, routers hold their operations for the last
 * milliseconds, the old one refuses writers, the new one takes over. No key travels twice and no router sees a mixture.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyfleetError } from '../base/errors.ts';
import { info } from './move-checks.ts';
import { type ServerAddress, ServerLink, showAddress } from './move-link.ts';

export interface CloneOptions {
  readonly from: ServerAddress;
  readonly to: ServerAddress;
  /** Makes every router hold, and resolves when all that was begun is answered. */
  readonly hold: () => Promise<void>;
  /** Lets routers go on, at the new address when `done`, at the old one else. */
  readonly release: (done: boolean) => Promise<void>;
  readonly onStep?: (step: string) => void;
  /** How long the copying may take. Default an hour. */
  readonly copyTimeoutMs?: number;
  /** How long routers may be held. Default 2,000: beyond it the clone is given up and the old server goes on. */
  readonly holdTimeoutMs?: number;
  /** Bytes that the new server may lag behind when routers are held. */
  readonly lagBytes?: number;
}

export interface CloneReport {
  readonly pauseMs: number;
  readonly bytes: number;
}

/** @throws KF_POOL_PLAN when the new server cannot follow; KF_POOL_CLONE_FAILED when it did not catch up: the old one serves on. */
export async function cloneServer(options: CloneOptions): Promise<CloneReport> {
  const { lagBytes = 64 * 1024, copyTimeoutMs = 3_600_000, holdTimeoutMs = 2_000 } = options;
  const [from, to] = [new ServerLink(options.from, { name: 'kf:mover' }), new ServerLink(options.to, { name: 'kf:mover' })];
  let fencedWrites: string | undefined;
  let following = false;
  try {
    await checkClone(from, to);
    const { username, password } = options.from;
    if (password !== undefined) await to.call(['CONFIG', 'SET', 'masterauth', password]);
    if (username !== undefined) await to.call(['CONFIG', 'SET', 'masteruser', username]);
    await to.call(['REPLICAOF', options.from.host, options.from.port]);
    following = true;
    options.onStep?.('copying');
    await until(
      async () => {
        const facts = await info(to);
        return facts.get('master_link_status') === 'up' && (await lag(from, to)) <= lagBytes;
      },
      copyTimeoutMs,
      50,
    );
    options.onStep?.('caught up');
    const startMs = performance.now();
    await options.hold();
    try {
      const before = (await from.call(['CONFIG', 'GET', 'min-replicas-to-write'])) as readonly Uint8Array[];
      fencedWrites = Buffer.from(before[1] ?? '0').toString();
      await from.call(['CONFIG', 'SET', 'min-replicas-to-write', '99']);
      await until(async () => (await lag(from, to)) <= 0, holdTimeoutMs, 1);
      await to.call(['REPLICAOF', 'NO', 'ONE']);
      following = false;
    } catch (error) {
      await from.raw(['CONFIG', 'SET', 'min-replicas-to-write', fencedWrites ?? '0']);
      await options.release(false);
      throw error;
    }
    await options.release(true);
    const pauseMs = performance.now() - startMs;
    options.onStep?.('released');
    return { pauseMs, bytes: Number((await info(to)).get('used_memory') ?? 0) };
  } finally {
    if (following) await to.raw(['REPLICAOF', 'NO', 'ONE']).catch(() => undefined);
    from.close();
    to.close();
  }
}

async function checkClone(from: ServerLink, to: ServerLink): Promise<void> {
  const [source, target] = [await info(from), await info(to)];
  const name = showAddress(to.server);
  const problems: string[] = [];
  if (Number(await to.call(['DBSIZE'])) > 0) problems.push(`${name} holds keys, which the copy would replace`);
  if (target.get('role') !== 'master') problems.push(`${name} follows another server already`);
  if (source.get('role') !== 'master') problems.push(`${showAddress(from.server)} is not a master`);
  if (versionOf(target) < versionOf(source))
    problems.push(`${name} is older (${target.get('redis_version')}) than ${source.get('redis_version')} and could not read it`);
  if (problems.length > 0) throw new KeyfleetError('KF_POOL_PLAN', problems.join('; '));
}

function versionOf(facts: ReadonlyMap<string, string>): number {
  const [major = 0, minor = 0] = (facts.get('redis_version') ?? '0').split('.').map(Number);
  return major * 1_000 + minor;
}

/** How many bytes of the source's stream the target does not have yet. */
async function lag(from: ServerLink, to: ServerLink): Promise<number> {
  const source = await info(from);
  const target = await info(to);
  return Number(source.get('master_repl_offset') ?? 0) - Number(target.get('slave_repl_offset') ?? -1);
}

async function until(isSo: () => Promise<boolean>, timeoutMs: number, everyMs: number): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > endMs)
      throw new KeyfleetError('KF_POOL_CLONE_FAILED', 'the new server did not catch up in time; the old one serves on', {
        retryable: true,
      });
    await sleep(everyMs);
  }
}
