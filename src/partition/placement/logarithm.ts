/**
 * The natural logarithm of a number above 0 by + − × ÷ alone, which IEEE 754 rounds the same everywhere; `Math.log` may differ in the
 * last bit from engine to engine, and a table must not. Exact to about 1e-15 relative.
 */
export function ln(x: number): number {
  let twos = 0;
  while (x < 0.75) {
    x *= 2;
    twos--;
  }
  while (x >= 1.5) {
    x *= 0.5;
    twos++;
  }
  const z = (x - 1) / (x + 1);
  const square = z * z;
  let term = z;
  let sum = 0;
  for (let odd = 1; odd <= 31; odd += 2) {
    sum += term / odd;
    term *= square;
  }
  return 2 * sum + twos * Math.LN2;
}

/** e^−x for x from 0, in the same way: a short series for x / 64, squared six times. */
export function expMinus(x: number): number {
  const small = -x / 64;
  let term = 1;
  let sum = 1;
  for (let n = 1; n <= 20; n++) {
    term *= small / n;
    sum += term;
  }
  for (let i = 0; i < 6; i++) sum *= sum;
  return sum;
}

/** `table[rank] = −ln(1 − (rank + ½) / size)`: the exponential clock of a rank. Rises with rank. */
export function clockTable(size: number): Float64Array {
  const table = new Float64Array(size);
  for (let rank = 0; rank < size; rank++) table[rank] = -ln(1 - (rank + 0.5) / size);
  return table;
}
