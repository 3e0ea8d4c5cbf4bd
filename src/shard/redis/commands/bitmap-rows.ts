/** The commands about bits of strings, in the form that {@link ./parse-rows.ts} reads. */
export const BITMAP_ROWS = `
setbit | 4 | write denyoom | write bitmap slow | one-key | 1 0 1 RW access update | - | 2.2.0 | O(n) for a string of n bytes | Sets or clears one bit of a string.
getbit | 3 | readonly fast | read bitmap fast | one-key | 1 0 1 RO access | - | 2.2.0 | O(1) | Reads one bit of a string.
bitcount | -2 | readonly | read bitmap slow | one-key | 1 0 1 RO access | - | 2.6.0 | O(n) for n bytes | Counts the set bits of a string.
bitpos | -3 | readonly | read bitmap slow | one-key | 1 0 1 RO access | - | 2.8.7 | O(n) for n bytes | Finds the first set or clear bit of a string.
bitop | -4 | write denyoom | write bitmap slow | one-slot | 2 0 1 OW update, 3 -1 1 RO access | - | 2.6.0 | O(n) for n bytes | Combines strings bit by bit into another.
bitfield | -2 | write denyoom | write bitmap slow | one-key | 1 0 1 RW access update variable_flags | - | 3.2.0 | O(n) for n operations | Reads, sets and adds to integers packed in a string.
bitfield_ro | -2 | readonly fast | read bitmap fast | one-key | 1 0 1 RO access | - | 6.0.0 | O(n) for n operations | Reads integers packed in a string.
`;
