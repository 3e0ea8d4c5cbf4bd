/** `certain`: what is sent stands behind what was run or sent. `uncertain`: something sent may be lost. `barrier`: a barrier is on its way. */
export type Footing = 'certain' | 'uncertain' | 'barrier';

/** What a replica knows of its own leadership. */
export interface Reign {
  footing: Footing;
  barrierSerial: number;
  lastSentMs: number;
  /** It gives up leading: it takes nothing more, and answers no reads by its lease. */
  resigning: boolean;
}

export function newReign(nowMs: number): Reign {
  return { footing: 'certain', barrierSerial: 0, lastSentMs: nowMs, resigning: false };
}
