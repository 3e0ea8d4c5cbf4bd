import type { FaultKind } from './faults.ts';

/** What a run came to. */
export interface SimulationResult {
  readonly seed: number;
  /** What was wrong; undefined: nothing. */
  readonly failure: string | undefined;
  readonly simulatedMs: number;
  readonly events: number;
  readonly traceHash: string;
  readonly requests: number;
  readonly answered: number;
  /** Keys whose histories were judged, and those that were too hard to judge. */
  readonly histories: number;
  readonly undecided: number;
  readonly entries: number;
  readonly leaderships: number;
  /** Splits, merges and moves that were seen under way. Only of runs of a cluster. */
  readonly workflows?: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<FaultKind, number>;
}
