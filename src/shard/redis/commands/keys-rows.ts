/** The commands about keys and their expiry, in the form that {@link ./parse-rows.ts} reads. */
export const KEY_ROWS = `
del | -2 | write | keyspace write slow | split sum | 1 -1 1 RM delete | request_policy:multi_shard response_policy:agg_sum | 1.0.0 | O(n) for n keys | Removes keys.
unlink | -2 | write fast | keyspace write fast | split sum | 1 -1 1 RM delete | request_policy:multi_shard response_policy:agg_sum | 4.0.0 | O(n) for n keys | Removes keys; the space is reclaimed in the background.
exists | -2 | readonly fast | keyspace read fast | split sum | 1 -1 1 RO | request_policy:multi_shard response_policy:agg_sum | 1.0.0 | O(n) for n keys | Counts how many of the given keys are there.
type | 2 | readonly fast | keyspace read fast | one-key | 1 0 1 RO | - | 1.0.0 | O(1) | Tells the type of a key's value.
touch | -2 | readonly fast | keyspace read fast | split sum | 1 -1 1 RO | request_policy:multi_shard response_policy:agg_sum | 3.2.1 | O(n) for n keys | Counts the given keys that are there, and marks them as used.
keys | 2 | readonly | keyspace read slow dangerous | keyspace | - | request_policy:all_shards nondeterministic_output_order | 1.0.0 | O(n) for n keys in all | Lists the keys that match a glob pattern.
scan | -2 | readonly | keyspace read slow | keyspace | - | nondeterministic_output request_policy:special | 2.8.0 | O(1) a call, O(n) for a whole walk over n keys | Walks over all keys, some at a time.
randomkey | 1 | readonly | keyspace read slow | keyspace | - | request_policy:all_shards nondeterministic_output | 1.0.0 | O(1) | Names a key picked by chance.
rename | 3 | write | keyspace write slow | one-slot | 1 0 1 RW access delete, 2 0 1 OW update | - | 1.0.0 | O(1) | Gives a key another name, replacing what had it.
renamenx | 3 | write fast | keyspace write fast | one-slot | 1 0 1 RW access delete, 2 0 1 OW insert | - | 1.0.0 | O(1) | Gives a key another name unless that is taken.
copy | -3 | write denyoom | keyspace write slow | one-slot | 1 0 1 RO access, 2 0 1 OW update | - | 6.2.0 | O(n) for a hash of n fields, else O(1) | Copies a value to another key.
sort | -2 | write denyoom movablekeys | write set sortedset list slow dangerous | one-slot | 1 0 1 RO access, ? RO access, ? OW update | - | 1.0.0 | O(n+m*log m) for n items and m answered | Lists or stores the items of a list, set or sorted set in order.
sort_ro | -2 | readonly movablekeys | read set sortedset list slow dangerous | one-slot | 1 0 1 RO access, ? RO access | - | 7.0.0 | O(n+m*log m) for n items and m answered | Lists the items of a list, set or sorted set in order.
expire | -3 | write fast | keyspace write fast | one-key | 1 0 1 RW update | - | 1.0.0 | O(1) | Lets a key expire after so many seconds.
pexpire | -3 | write fast | keyspace write fast | one-key | 1 0 1 RW update | - | 2.6.0 | O(1) | Lets a key expire after so many milliseconds.
expireat | -3 | write fast | keyspace write fast | one-key | 1 0 1 RW update | - | 1.2.0 | O(1) | Lets a key expire at a Unix time in seconds.
pexpireat | -3 | write fast | keyspace write fast | one-key | 1 0 1 RW update | - | 2.6.0 | O(1) | Lets a key expire at a Unix time in milliseconds.
ttl | 2 | readonly fast | keyspace read fast | one-key | 1 0 1 RO access | nondeterministic_output | 1.0.0 | O(1) | Tells in how many seconds a key expires.
pttl | 2 | readonly fast | keyspace read fast | one-key | 1 0 1 RO access | nondeterministic_output | 2.6.0 | O(1) | Tells in how many milliseconds a key expires.
expiretime | 2 | readonly fast | keyspace read fast | one-key | 1 0 1 RO access | - | 7.0.0 | O(1) | Tells at which Unix time in seconds a key expires.
pexpiretime | 2 | readonly fast | keyspace read fast | one-key | 1 0 1 RO access | - | 7.0.0 | O(1) | Tells at which Unix time in milliseconds a key expires.
persist | 2 | write fast | keyspace write fast | one-key | 1 0 1 RW update | - | 2.2.0 | O(1) | Lets a key expire no more.
object | -2 | - | slow | one-key | - | - | 2.2.3 | As the subcommand says | Groups the commands that look into a stored value.
object|encoding | 3 | readonly | keyspace read slow | one-key | 2 0 1 RO | nondeterministic_output | 2.2.3 | O(1) | Tells how Redis would lay the value out.
object|idletime | 3 | readonly | keyspace read slow | one-key | 2 0 1 RO | nondeterministic_output | 2.2.3 | O(1) | Tells how many seconds ago a key was last used.
object|refcount | 3 | readonly | keyspace read slow | one-key | 2 0 1 RO | nondeterministic_output | 2.2.3 | O(1) | Tells how often a value is referred to.
object|freq | 3 | readonly | keyspace read slow | one-key | 2 0 1 RO | nondeterministic_output | 4.0.0 | O(1) | Tells how often a key was used of late.
object|help | 2 | loading stale | keyspace slow | server | - | - | 6.2.0 | O(1) | Lists the subcommands of OBJECT.
`;
