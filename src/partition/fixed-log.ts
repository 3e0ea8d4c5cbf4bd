/**
 * A base-2 logarithm that is the same on every engine, to the last bit. `Math.log` is not: the standard leaves its last digits to the
 * engine, and one differing digit could place a key on two nodes at once. This one uses + − × ÷ alone: a table built by repeated squaring,
 * and straight lines between its 4,097 points. It is off by at most 1.1e-8, and strictly as monotone as its argument allows.
 */

const CELLS = 4096;

/** log2(1 + i / 4096). */
let table: Float64Array | undefined;

const POWERS = Float64Array.from({ length: 54 }, (_, exponent) => 2 ** exponent);

/** log2 of a whole number from 1 to 2^53. */
export function fixedLog2(value: number): number {
  table ??= buildTable();
  const exponent = value >= 0x1_0000_0000 ? 63 - Math.clz32(value / 0x1_0000_0000) : 31 - Math.clz32(value);
  const scaled = (value / POWERS[exponent]! - 1) * CELLS;
  const cell = Math.floor(scaled);
  const low = table[cell]!;
  return exponent + (low + (table[cell + 1]! - low) * (scaled - cell));
}

/** The bits of log2(m), 1 ≤ m < 2: squaring doubles the logarithm, and each time it passes 1 the next bit is set. */
function buildTable(): Float64Array {
  const built = new Float64Array(CELLS + 2);
  for (let i = 1; i < CELLS; i++) {
    let m = 1 + i / CELLS;
    let bit = 0.5;
    let log = 0;
    for (let step = 0; step < 48; step++) {
      m *= m;
      if (m >= 2) {
        m /= 2;
        log += bit;
      }
      bit /= 2;
    }
    built[i] = log;
  }
  built[CELLS] = 1;
  built[CELLS + 1] = 1;
  return built;
}
