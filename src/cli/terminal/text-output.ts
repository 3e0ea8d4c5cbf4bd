import { once } from 'node:events';
import { showCount } from '../../base/units.ts';

/** Standard output in large pieces, at the pace of whoever reads it. */
export class TextOutput {
  #pending: string[] = [];
  #chars = 0;

  /** Keeps `text` for the next piece. */
  write(text: string): void {
    this.#pending.push(text);
    this.#chars += text.length;
  }

  /** Hands over what has gathered, when it is worth it; waits when the reader is behind. */
  async settle(leastChars = 0): Promise<void> {
    if (this.#chars === 0 || this.#chars < leastChars) return;
    const text = this.#pending.join('');
    this.#pending = [];
    this.#chars = 0;
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
}

/** Rows as aligned columns; a column whose body is all numbers stands to the right. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  const numeric: boolean[] = [];
  for (const [r, row] of rows.entries())
    for (const [c, cell] of row.entries()) {
      widths[c] = Math.max(widths[c] ?? 0, cell.length);
      if (r > 0 && cell !== '') numeric[c] = (numeric[c] ?? true) && /^[-+]?[\d,.]+( ?[%x×])?$/.test(cell);
    }
  const line = (row: readonly string[]): string =>
    row
      .map((cell, c) => (numeric[c] ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar `share` × `width` characters long, to an eighth of one. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * 8);
  return '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
}

export function percent(share: number, digits = 2): string {
  return `${(100 * share).toFixed(digits)} %`;
}

/** Eight hex digits; the end of the last shard, 2^32, has no eight. */
export function showPosition(position: number): string {
  return position === 0x1_0000_0000 ? 'end' : position.toString(16).padStart(8, '0');
}

/** `1 shard`, `2,000 shards`. */
export function counted(count: number, noun: string): string {
  return `${showCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}
