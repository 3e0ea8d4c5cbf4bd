import { usage } from '../terminal/usage.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** A number of bytes as people write it: `1048576`, `64K`, `1M`, `200GiB`. @throws KF_USAGE naming the flag. */
export function parseSize(flag: string, text: string): number {
  const match = /^(\d{1,15})(?:([kmgt])(?:i?b)?)?$/i.exec(text);
  if (!match) throw usage(`${flag}: ${JSON.stringify(text)} is no size; one looks like 1048576, 64K, 1M or 200G`);
  return Number(match[1]) * UNITS[(match[2] ?? '').toLowerCase()]!;
}
