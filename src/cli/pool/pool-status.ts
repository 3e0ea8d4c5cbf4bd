import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, KeyfleetError } from '../../base/errors.ts';
import { MIB, showBytes, showCount, showDuration } from '../../base/units.ts';
import type { ChangeAnswer } from '../../pool/moves/move-admin.ts';
import type { AskedLimits } from '../../pool/moves/move-limits.ts';
import type { MoveStatus } from '../../pool/moves/move-status.ts';
import type { WholeForecast, WholeStatus } from '../../pool/moves/whole-servers.ts';
import { askPatiently } from '../client/patience.ts';
import { Progress } from '../terminal/progress.ts';
import { askOwner, type OwnerFlags } from './pool-owner-client.ts';

export interface PoolStatus extends MoveStatus {
  readonly pool: string;
  readonly slotCount: number;
  readonly servers: readonly { readonly name: string; readonly address: string; readonly weight: number; readonly slots: number }[];
  readonly routers: readonly { readonly id: string; readonly epoch: number }[];
  readonly whole?: WholeStatus;
}

const LOOK_EVERY_MS = 250;
/** Where nobody watches a bar, a line so often. */
const SAY_EVERY_MS = 3_000;

/** What a change of servers would move, or moves now. */
export function printMoves(moves: ChangeAnswer['moves']): void {
  let keys = 0;
  let bytes = 0;
  let seconds = 0;
  for (const move of moves) {
    const about =
      move.keys === undefined
        ? ''
        : `, about ${showCount(move.keys)} keys and ${showBytes(move.bytes ?? 0)}${move.byType ? ', copied by type' : ''}`;
    process.stdout.write(`${move.from} to ${move.to}: ${showCount(move.slotCount)} slots${about}\n`);
    for (const problem of move.problems ?? []) process.stdout.write(`  in the way: ${problem}\n`);
    keys += move.keys ?? 0;
    bytes += move.bytes ?? 0;
    seconds += move.seconds ?? 0;
  }
  if (moves.length === 0) process.stdout.write('no slots move\n');
  else if (keys > 0)
    process.stdout.write(
      `in all about ${showCount(keys)} keys and ${showBytes(bytes)}, some ${showDuration(Math.max(1_000, seconds * 1_000))}\n`,
    );
}

/** What a clone would come to. */
export function printWhole({ servers, keys, bytes, problems }: WholeForecast): void {
  process.stdout.write(`${showCount(keys)} keys, about ${showBytes(bytes)}, are copied by replication\n`);
  for (const { name, slotCount } of servers) process.stdout.write(`  ${name.padEnd(24)} ${showCount(slotCount)} slots afterwards\n`);
  for (const problem of problems) process.stdout.write(`  in the way: ${problem}\n`);
}

/** Waits for the moves, with a bar. @throws KF_POOL_PLAN when they stand still. */
export async function followMoves(flags: OwnerFlags): Promise<void> {
  const look = (): Promise<PoolStatus> => askPatiently(() => askOwner<PoolStatus>(flags, 'status'));
  let now = await look();
  const progress = new Progress('moving', now.slotsTotal, { unit: 'keys' });
  try {
    for (; now.state !== 'idle'; now = await look()) {
      if (now.state === 'stopped')
        throw new KeyfleetError('KF_POOL_PLAN', `the moves stand still: ${now.trouble}; remove the cause, then \`keyfleet pool resume\``);
      const p99 = now.foregroundP99Ms === undefined ? '' : ` | foreground p99 ${now.foregroundP99Ms.toFixed(1)} ms`;
      const note = `${showBytes(Math.round(now.bytesPerSecond))}/s | ${showCount(now.slotsDone)} of ${showCount(now.slotsTotal)} slots${p99}`;
      const walking = now.moves.find(({ state }) => state === 'guarded');
      progress.update(now.slotsDone + (walking?.slotCount ?? 0) * now.walkedShare, now.keysMoved, note);
      await sleep(LOOK_EVERY_MS);
    }
  } finally {
    progress.stop();
  }
  printStatus(now);
}

/** Waits for a clone, and says what came of it. @throws what ended it. */
export async function followWhole(flags: OwnerFlags): Promise<void> {
  let said = '';
  let saidMs = 0;
  for (;;) {
    const now = await askPatiently(() => askOwner<PoolStatus>(flags, 'status'));
    const { whole } = now;
    if (whole === undefined) return;
    if (!whole.isRunning) {
      if (whole.error) throw new KeyfleetError(whole.error.code as ErrorCode, whole.error.message);
      const pause = whole.pauseMs === undefined ? '' : `, operations were held for ${whole.pauseMs.toFixed(1)} ms`;
      const trimmed = whole.trimmedKeys === 0 ? '' : `, ${showCount(whole.trimmedKeys)} keys removed where they do not belong`;
      process.stdout.write(`${whole.title}: done${pause}${trimmed}\n`);
      printStatus(now);
      return;
    }
    if (whole.step !== said && Date.now() - saidMs > SAY_EVERY_MS) {
      process.stderr.write(`${whole.step}\n`);
      said = whole.step;
      saidMs = Date.now();
    }
    await sleep(LOOK_EVERY_MS);
  }
}

export function printStatus(now: PoolStatus): void {
  const lines = now.servers.map(
    ({ name, address, weight, slots }) =>
      `  ${name.padEnd(24)} ${address.padEnd(24)} weight ${weight}  ${showCount(slots)} slots (${((100 * slots) / now.slotCount).toFixed(1)} %)`,
  );
  process.stdout.write(`${now.pool}, epoch ${now.epoch}, ${now.routers.length} router(s), moves: ${now.state}\n${lines.join('\n')}\n`);
  if (now.whole?.isRunning) process.stdout.write(`${now.whole.title}: ${now.whole.step}\n`);
  if (now.state === 'idle') return;
  const left = now.secondsLeft === undefined ? '' : `, ${showDuration(now.secondsLeft * 1_000)} left`;
  const p99 = now.foregroundP99Ms === undefined ? '' : `, foreground p99 ${now.foregroundP99Ms.toFixed(1)} ms`;
  process.stdout.write(
    `${now.title}: ${showCount(now.slotsDone)} of ${showCount(now.slotsTotal)} slots, ${showCount(now.keysMoved)} keys, ${showCount(now.keysPerSecond)} keys/s, ${(now.bytesPerSecond / MIB).toFixed(2)} MiB/s${left}${p99}\n`,
  );
  for (const { from, to, slotCount, state } of now.moves)
    process.stdout.write(`  ${from} to ${to}: ${showCount(slotCount)} slots, ${MOVE_STATES[state]}\n`);
  if (now.trouble) process.stdout.write(`  ${now.trouble}\n`);
}

export function printLimits({ bytesPerSecond, foregroundP99Ms, mostBytes, checkShare }: AskedLimits): void {
  const rate = bytesPerSecond == null ? 'as fast as it goes' : `${showBytes(bytesPerSecond)}/s`;
  const p99 = foregroundP99Ms == null ? '' : `, slower while the foreground's p99 is above ${foregroundP99Ms} ms`;
  process.stdout.write(
    `${rate}${p99}; values above ${showBytes(mostBytes ?? 0)} stop the moves; ${100 * (checkShare ?? 0)} % of the keys are compared on their way\n`,
  );
}

const MOVE_STATES: Readonly<Record<MoveStatus['moves'][number]['state'], string>> = {
  pending: 'waits',
  guarded: 'moves',
  after: 'cleans up',
  done: 'done',
  held: 'turns back',
  returning: 'goes back',
  before: 'cleans up',
  cancelled: 'cancelled',
};
