import type { Edit } from '../mutants/mutants.ts';
import type { Stage } from './stage.ts';

/** A fault of the store that was found once, told so that it cannot come back unseen. */
export interface Scenario {
  /** What must hold. */
  readonly name: string;
  /** What was found, and by what. */
  readonly found: string;
  /** Takes the mend back: with these edits the scenario must fail, and as `failsWith` says, or it proves nothing. */
  readonly mendTakenBack: readonly Edit[];
  readonly failsWith: RegExp;
  /** Plays it. @throws when something is not as it must be. */
  play(): Promise<void>;
}

export function expectEqual(what: string, found: unknown, expected: unknown): void {
  if (found !== expected) throw new Error(`${what}: ${found}, and not ${expected}`);
}

/** Counts, at one node, until a shard's log has so many more entries. */
export async function count(stage: Stage, at: string, key: string, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await stage.added(at, key);
}
