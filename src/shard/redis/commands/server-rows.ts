/** The commands about the server, in the form that {@link ./parse-rows.ts} reads. */
export const SERVER_ROWS = `
command | -1 | loading stale | slow connection | server | - | nondeterministic_output_order | 2.8.13 | O(n) for n commands | Describes all commands.
command|count | 2 | loading stale | slow connection | server | - | - | 2.8.13 | O(1) | Counts the commands.
command|docs | -2 | loading stale | slow connection | server | - | nondeterministic_output_order | 7.0.0 | O(n) for n commands | Explains commands in words.
command|getkeys | -4 | loading stale | slow connection | server | - | - | 2.8.13 | O(n) for n arguments | Picks the keys out of a command.
command|getkeysandflags | -4 | loading stale | slow connection | server | - | - | 7.0.0 | O(n) for n arguments | Picks the keys out of a command and says how each is used.
command|help | 2 | loading stale | slow connection | server | - | - | 5.0.0 | O(1) | Lists the subcommands of COMMAND.
command|info | -2 | loading stale | slow connection | server | - | nondeterministic_output_order | 2.8.13 | O(n) for n commands | Describes the named commands.
command|list | -2 | loading stale | slow connection | server | - | nondeterministic_output_order | 7.0.0 | O(n) for n commands | Lists the names of the commands.
info | -1 | loading stale | slow dangerous | server | - | nondeterministic_output request_policy:all_shards response_policy:special | 1.0.0 | O(1) | Tells how the server is and what it has done.
config | -2 | - | slow | server | - | - | 2.0.0 | As the subcommand says | Groups the commands about settings.
config|get | -3 | admin noscript loading stale | admin slow dangerous | server | - | - | 2.0.0 | O(n) for n patterns | Reads settings whose names match patterns.
config|set | -4 | admin noscript loading stale | admin slow dangerous | server | - | request_policy:all_nodes response_policy:all_succeeded | 2.0.0 | O(n) for n settings | Changes settings.
config|resetstat | 2 | admin noscript loading stale | admin slow dangerous | server | - | - | 2.0.0 | O(1) | Sets the counters of INFO back to zero.
config|rewrite | 2 | admin noscript loading stale | admin slow dangerous | server | - | - | 2.8.0 | O(1) | Would write the settings to the configuration file.
config|help | 2 | loading stale | slow | server | - | - | 5.0.0 | O(1) | Lists the subcommands of CONFIG.
dbsize | 1 | readonly fast | keyspace read fast | keyspace | - | request_policy:all_shards response_policy:agg_sum | 1.0.0 | O(1) | Counts the keys.
flushdb | -1 | write | keyspace write slow dangerous | keyspace | - | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | O(1) | Removes all keys of the database.
flushall | -1 | write | keyspace write slow dangerous | keyspace | - | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | O(1) | Removes all keys.
lolwut | -1 | readonly fast | read fast | server | - | - | 5.0.0 | O(1) | Tells the version.
time | 1 | loading stale fast | fast | server | - | nondeterministic_output | 2.6.0 | O(1) | Tells the server's time.
`;
