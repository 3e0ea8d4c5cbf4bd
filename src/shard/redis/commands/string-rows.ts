/** The commands about strings, in the form that {@link ./parse-rows.ts} reads. */
export const STRING_ROWS = `
append | 3 | write denyoom fast | write string fast | one-key | 1 0 1 RW insert | - | 2.0.0 | O(n) for a string of n bytes | Adds bytes to the end of a string.
decr | 2 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 1.0.0 | O(1) | Takes one from a whole number.
decrby | 3 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 1.0.0 | O(1) | Takes an amount from a whole number.
get | 2 | readonly fast | read string fast | one-key | 1 0 1 RO access | - | 1.0.0 | O(1) | Reads a string.
getdel | 2 | write fast | write string fast | one-key | 1 0 1 RW access delete | - | 6.2.0 | O(1) | Reads a string and removes its key.
getex | -2 | write fast | write string fast | one-key | 1 0 1 RW access update | - | 6.2.0 | O(1) | Reads a string and sets or clears its expiry.
getrange | 4 | readonly | read string slow | one-key | 1 0 1 RO access | - | 2.4.0 | O(n) for n bytes read | Reads a part of a string.
getset | 3 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 1.0.0 | O(1) | Replaces a string and answers the one before.
incr | 2 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 1.0.0 | O(1) | Adds one to a whole number.
incrby | 3 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 1.0.0 | O(1) | Adds an amount to a whole number.
incrbyfloat | 3 | write denyoom fast | write string fast | one-key | 1 0 1 RW access update | - | 2.6.0 | O(1) | Adds an amount to a decimal number.
lcs | -3 | readonly | read string slow | one-slot | 1 1 1 RO access | - | 7.0.0 | O(n*m) for strings of n and m bytes | Finds the longest common subsequence of two strings.
mget | -2 | readonly fast | read string fast | split array | 1 -1 1 RO access | request_policy:multi_shard | 1.0.0 | O(n) for n keys | Reads the strings of several keys.
mset | -3 | write denyoom | write string slow | split ok | 1 -1 2 OW update | request_policy:multi_shard response_policy:all_succeeded | 1.0.1 | O(n) for n keys | Sets the strings of several keys.
msetnx | -3 | write denyoom | write string slow | one-slot | 1 -1 2 OW insert | request_policy:multi_shard response_policy:agg_min | 1.0.1 | O(n) for n keys | Sets the strings of several keys if none of them is there.
psetex | 4 | write denyoom | write string slow | one-key | 1 0 1 OW update | - | 2.6.0 | O(1) | Sets a string that expires after so many milliseconds.
set | -3 | write denyoom | write string slow | one-key | 1 0 1 RW access update variable_flags | - | 1.0.0 | O(1) | Sets a string, with conditions and an expiry if wanted.
setex | 4 | write denyoom | write string slow | one-key | 1 0 1 OW update | - | 2.0.0 | O(1) | Sets a string that expires after so many seconds.
setnx | 3 | write denyoom fast | write string fast | one-key | 1 0 1 OW insert | - | 1.0.0 | O(1) | Sets a string if its key is not there.
setrange | 4 | write denyoom | write string slow | one-key | 1 0 1 RW update | - | 2.2.0 | O(n) for a string of n bytes | Overwrites a part of a string from an offset on.
strlen | 2 | readonly fast | read string fast | one-key | 1 0 1 RO | - | 2.2.0 | O(1) | Tells the length of a string.
substr | 4 | readonly | read string slow | one-key | 1 0 1 RO access | - | 1.0.0 | O(n) for n bytes read | Reads a part of a string; the old name of GETRANGE.
`;
