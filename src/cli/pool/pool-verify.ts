import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, KeyfleetError } from '../../base/errors.ts';
import { showCount } from '../../base/units.ts';
import type { VerifyReport } from '../../pool/moves/move-verify.ts';
import type { VerifyStatus } from '../../pool/moves/verify-job.ts';
import { Progress } from '../terminal/progress.ts';
import { askOwner, type OwnerFlags } from './pool-owner-client.ts';

const LOOK_EVERY_MS = 250;

/** Has the owner verify, shows how far it is and prints what it found. Answers whether all is as it should be. @throws what ended it. */
export async function followVerify(flags: OwnerFlags, asked: object, json: boolean): Promise<boolean> {
  let now = await askOwner<VerifyStatus>(flags, 'verify', asked);
  const progress = new Progress('verifying', 0, { unit: 'keys' });
  try {
    for (; now.isRunning; now = await askOwner<VerifyStatus>(flags, 'verify')) {
      progress.update(0, now.keys);
      await sleep(LOOK_EVERY_MS);
    }
  } finally {
    progress.stop();
  }
  if (now.error) throw new KeyfleetError(now.error.code as ErrorCode, now.error.message);
  const report = now.report!;
  if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else print(report, 'against' in asked || 'address' in asked);
  return report.misplacedCount === 0 && report.differenceCount === 0;
}

function print(report: VerifyReport, compared: boolean): void {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const looked = `${showCount(report.keys)} keys${report.isSample ? ' by chance' : ''}`;
  for (const { key, on, belongsTo, alsoThere, copy } of report.misplaced)
    say(
      `${key} is on ${on} and belongs to ${belongsTo}${alsoThere ? `, which has it too${copy === 'same' ? ', the same' : ` with another ${copy}`}` : ''}`,
    );
  if (report.misplacedCount === 0) say(`${looked}, each on its own server and on no other`);
  else say(`of ${looked}, ${showCount(report.misplacedCount)} on a wrong server, ${showCount(report.twiceCount)} of them twice`);
  if (!compared) return;
  for (const { key, kind, what } of report.differences) say(`${key}: ${kind}: ${what}`);
  if (report.differenceCount === 0) say('the copy is the same: types, values, times to live');
  else say(`${showCount(report.differenceCount)} key(s) are not the same in the copy`);
}
