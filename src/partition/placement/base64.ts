/** Base64 of 16-bit cells, little end first: `Buffer` and `btoa` are not everywhere we run. */
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

export function cellsToBase64(cells: Uint16Array): string {
  const parts: string[] = [];
  const byte = (at: number): number => (at < 2 * cells.length ? (cells[at >> 1]! >> (8 * (at & 1))) & 0xff : 0);
  for (let at = 0; at < 2 * cells.length; at += 3) {
    const word = (byte(at) << 16) | (byte(at + 1) << 8) | byte(at + 2);
    const digits = DIGITS[word >> 18]! + DIGITS[(word >> 12) & 63]! + DIGITS[(word >> 6) & 63]! + DIGITS[word & 63]!;
    const missing = Math.max(0, at + 3 - 2 * cells.length);
    parts.push(missing === 0 ? digits : digits.slice(0, 4 - missing) + '='.repeat(missing));
  }
  return parts.join('');
}

/** Undefined when `text` is not the base64 of whole cells. */
export function base64ToCells(text: string): Uint16Array | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const length = (text.length / 4) * 3 - padding;
  if (length % 2 !== 0) return undefined;
  const value = new Uint8Array(128);
  for (let i = 0; i < 64; i++) value[DIGITS.charCodeAt(i)] = i;
  const cells = new Uint16Array(length / 2);
  let at = 0;
  const push = (byte: number): void => {
    if (at < length) cells[at >> 1]! |= byte << (8 * (at & 1));
    at++;
  };
  for (let i = 0; i < text.length; i += 4) {
    const digit = (offset: number): number => value[text.charCodeAt(i + offset)]!;
    const word = (digit(0) << 18) | (digit(1) << 12) | (digit(2) << 6) | digit(3);
    push(word >> 16);
    push((word >> 8) & 0xff);
    push(word & 0xff);
  }
  return cells;
}
