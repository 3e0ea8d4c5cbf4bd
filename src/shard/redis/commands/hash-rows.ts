/** The commands about hashes, in the form that {@link ./parse-rows.ts} reads. */
export const HASH_ROWS = `
hdel | -3 | write fast | write hash fast | one-key | 1 0 1 RW delete | - | 2.0.0 | O(n) for n fields given | Removes fields from a hash.
hexists | 3 | readonly fast | read hash fast | one-key | 1 0 1 RO | - | 2.0.0 | O(1) | Tells whether a hash has a field.
hget | 3 | readonly fast | read hash fast | one-key | 1 0 1 RO access | - | 2.0.0 | O(1) | Reads a field of a hash.
hgetall | 2 | readonly | read hash slow | one-key | 1 0 1 RO access | nondeterministic_output_order | 2.0.0 | O(n) for n fields | Reads all fields of a hash with their values.
hincrby | 4 | write denyoom fast | write hash fast | one-key | 1 0 1 RW access update | - | 2.0.0 | O(1) | Adds an amount to the whole number in a field.
hincrbyfloat | 4 | write denyoom fast | write hash fast | one-key | 1 0 1 RW access update | - | 2.6.0 | O(1) | Adds an amount to the decimal number in a field.
hkeys | 2 | readonly | read hash slow | one-key | 1 0 1 RO access | nondeterministic_output_order | 2.0.0 | O(n) for n fields | Lists the fields of a hash.
hlen | 2 | readonly fast | read hash fast | one-key | 1 0 1 RO | - | 2.0.0 | O(1) | Counts the fields of a hash.
hmget | -3 | readonly fast | read hash fast | one-key | 1 0 1 RO access | - | 2.0.0 | O(n) for n fields asked for | Reads several fields of a hash.
hmset | -4 | write denyoom fast | write hash fast | one-key | 1 0 1 RW update | - | 2.0.0 | O(n) for n fields given | Sets several fields of a hash; the old form of HSET.
hrandfield | -2 | readonly | read hash slow | one-key | 1 0 1 RO access | nondeterministic_output | 6.2.0 | O(n) for n fields answered | Names fields of a hash picked by chance.
hscan | -3 | readonly | read hash slow | one-key | 1 0 1 RO access | nondeterministic_output | 2.8.0 | O(1) a call, O(n) for a whole walk over n fields | Walks over the fields of a hash, some at a time.
hset | -4 | write denyoom fast | write hash fast | one-key | 1 0 1 RW update | - | 2.0.0 | O(n) for n fields given | Sets fields of a hash.
hsetnx | 4 | write denyoom fast | write hash fast | one-key | 1 0 1 RW insert | - | 2.0.0 | O(1) | Sets a field of a hash if it is not there.
hstrlen | 3 | readonly fast | read hash fast | one-key | 1 0 1 RO | - | 3.2.0 | O(1) | Tells the length of a field's value.
hvals | 2 | readonly | read hash slow | one-key | 1 0 1 RO access | nondeterministic_output_order | 2.0.0 | O(n) for n fields | Lists the values of a hash.
`;
