import { readFileSync, writeFileSync } from 'node:fs';
import { isKeyfleetError, KeyfleetError, messageOf } from '../../base/errors.ts';
import type { MoveEngine } from './move-engine.ts';

/** What people may say about how a pool's keys move. Null takes a limit away. */
export interface AskedLimits {
  readonly bytesPerSecond?: number | null;
  /** Moves slow down while routers measure more than this. */
  readonly foregroundP99Ms?: number | null;
  /** Values above it stop a move. */
  readonly mostBytes?: number;
  /** The share of keys, 0 to 1, that are compared before they leave the source. */
  readonly checkShare?: number;
}

/** The limits that are in force. */
export function limitsOf(engine: MoveEngine): AskedLimits {
  const { bytesPerSecond, foregroundP99Ms } = engine.pace.limits;
  const { mostBytes, checkShare } = engine.limits;
  return { bytesPerSecond: bytesPerSecond ?? null, foregroundP99Ms: foregroundP99Ms ?? null, mostBytes, checkShare };
}

/** Puts other limits in force, also for moves that are under way; those not named stay. @throws KF_BAD_REQUEST; nothing changes then. */
export function setLimits(engine: MoveEngine, asked: AskedLimits): void {
  for (const name of ['bytesPerSecond', 'foregroundP99Ms', 'mostBytes'] as const) {
    const value = asked[name];
    if (value !== undefined && value !== null && !(Number.isFinite(value) && value > 0))
      throw new KeyfleetError('KF_BAD_REQUEST', `${name} is a number above 0`);
  }
  const { checkShare } = asked;
  if (checkShare !== undefined && !(checkShare >= 0 && checkShare <= 1))
    throw new KeyfleetError('KF_BAD_REQUEST', 'checkShare is a share from 0 to 1');
  const { limits } = engine.pace;
  engine.pace.limits = {
    bytesPerSecond: asked.bytesPerSecond === undefined ? limits.bytesPerSecond : (asked.bytesPerSecond ?? undefined),
    foregroundP99Ms: asked.foregroundP99Ms === undefined ? limits.foregroundP99Ms : (asked.foregroundP99Ms ?? undefined),
  };
  engine.limits = {
    ...engine.limits,
    ...(asked.mostBytes === undefined ? {} : { mostBytes: asked.mostBytes }),
    ...(checkShare === undefined ? {} : { checkShare }),
  };
}

/** Puts in force what an owner before this one was told. @throws KF_POOL_MAP when the file is damaged. */
export function readLimits(path: string, engine: MoveEngine): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new KeyfleetError('KF_POOL_MAP', `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  try {
    setLimits(engine, JSON.parse(text) as AskedLimits);
  } catch (error) {
    const why = isKeyfleetError(error) ? error.message : 'it is no JSON';
    throw new KeyfleetError('KF_POOL_MAP', `${path} is damaged (${why}): correct or remove it`, { cause: error });
  }
}

/** Keeps the limits for the next owner. */
export function writeLimits(path: string, engine: MoveEngine): void {
  writeFileSync(path, `${JSON.stringify(limitsOf(engine), null, 2)}\n`);
}
