import { setTimeout as sleep } from 'node:timers/promises';
import { showBytes, showCount } from '../../base/units.ts';
import type { MoveForecast } from '../../volume/move-forecast.ts';
import type { MoveProgress, Mover } from '../../volume/mover.ts';
import { Progress } from '../terminal/progress.ts';

interface VolumeName {
  readonly number: number;
  readonly address: string;
}

/** What would move, a line per way, for people. */
export function forecastText(moves: readonly MoveForecast[], volumes: readonly VolumeName[]): string {
  if (moves.length === 0) return 'nothing would move\n';
  const name = (number: number): string => volumes.find((volume) => volume.number === number)?.address ?? '(the new volume)';
  const lines = moves.map(
    ({ from, to, keyCount, bytes }) => `  ${name(from)} -> ${name(to)}: ${showCount(keyCount)} keys, ${showBytes(bytes)}`,
  );
  const keys = moves.reduce((sum, { keyCount }) => sum + keyCount, 0);
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0);
  return `would move ${showCount(keys)} keys, ${showBytes(bytes)}:\n${lines.join('\n')}\n`;
}

/** Starts the mover when asked, and shows its progress until all is in place. */
export async function watchMoves(mover: Mover, isWanted: boolean): Promise<void> {
  if (!isWanted) return;
  await mover.start();
  await showMoves(async () => mover.progress);
}

/** Shows moves until they end, asking `progressNow` a few times a second. @throws what it throws */
export async function showMoves(progressNow: () => Promise<MoveProgress>): Promise<MoveProgress> {
  const { keysTotal } = await progressNow();
  const bar = new Progress('moving', keysTotal, { unit: 'keys' });
  let toldError: string | undefined;
  try {
    for (;;) {
      const progress = await progressNow();
      bar.update(progress.keysSeen, progress.keysMoved);
      if (progress.state !== 'moving' && progress.state !== 'waiting') {
        bar.stop();
        const lost = progress.keysLost > 0 ? `; ${showCount(progress.keysLost)} keys have NO copy left` : '';
        process.stderr.write(`moved ${showCount(progress.keysMoved)} keys, ${showBytes(progress.bytesMoved)}${lost}\n`);
        return progress;
      }
      if (progress.state === 'waiting' && progress.lastError !== toldError) {
        toldError = progress.lastError;
        process.stderr.write(`\nwaiting: ${toldError}\n`);
      }
      await sleep(progress.state === 'waiting' ? 2_000 : 250);
    }
  } finally {
    bar.stop();
  }
}
