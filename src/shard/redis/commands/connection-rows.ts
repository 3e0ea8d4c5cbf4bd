/** The commands about connections, in the form that {@link ./parse-rows.ts} reads. */
export const CONNECTION_ROWS = `
hello | -1 | noscript loading stale fast no_auth allow_busy | fast connection | connection | - | - | 6.0.0 | O(1) | Opens the conversation: protocol version, password, name.
auth | -2 | noscript loading stale fast no_auth allow_busy | fast connection | connection | - | - | 1.0.0 | O(1) | Gives the password.
ping | -1 | fast | fast connection | connection | - | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | O(1) | Answers PONG, or what it is given.
echo | 2 | loading stale fast | fast connection | connection | - | - | 1.0.0 | O(1) | Answers what it is given.
quit | -1 | noscript loading stale fast no_auth allow_busy | fast connection | connection | - | - | 1.0.0 | O(1) | Ends the connection after its reply.
reset | 1 | noscript loading stale fast no_auth allow_busy | fast connection | connection | - | - | 6.2.0 | O(1) | Brings the connection back to how it began.
select | 2 | loading stale fast | fast connection | connection | - | - | 1.0.0 | O(1) | Chooses the database of the connection.
client | -2 | - | slow | connection | - | - | 2.4.0 | As the subcommand says | Groups the commands about connections.
client|id | 2 | noscript loading stale | slow connection | connection | - | - | 5.0.0 | O(1) | Tells the number of this connection.
client|info | 2 | noscript loading stale | slow connection | connection | - | nondeterministic_output | 6.2.0 | O(1) | Describes this connection.
client|list | -2 | admin noscript loading stale | admin slow dangerous connection | connection | - | nondeterministic_output | 2.4.0 | O(n) for n connections | Describes all connections.
client|setname | 3 | noscript loading stale | slow connection | connection | - | - | 2.6.9 | O(1) | Names this connection.
client|getname | 2 | noscript loading stale | slow connection | connection | - | - | 2.6.9 | O(1) | Tells the name of this connection.
client|setinfo | 4 | noscript loading stale | slow connection | connection | - | request_policy:all_nodes response_policy:all_succeeded | 7.2.0 | O(1) | Notes the client library's name or version.
client|no-evict | 3 | admin noscript loading stale | admin slow dangerous connection | connection | - | - | 7.0.0 | O(1) | Spares this connection when clients are dropped for memory.
client|no-touch | 3 | noscript loading stale | slow connection | connection | - | - | 7.2.0 | O(1) | Lets this connection read keys without marking them as used.
client|kill | -3 | admin noscript loading stale | admin slow dangerous connection | connection | - | - | 2.4.0 | O(n) for n connections | Ends connections.
client|reply | 3 | noscript loading stale | slow connection | connection | - | - | 3.2.0 | O(1) | Says whether this connection wants replies.
client|pause | -3 | admin noscript loading stale | admin slow dangerous connection | connection | - | - | 2.9.50 | O(1) | Lets all requests, or all writes, wait for a time.
client|unpause | 2 | admin noscript loading stale | admin slow dangerous connection | connection | - | - | 6.2.0 | O(n) for n connections | Lets the requests that wait go on.
client|unblock | -3 | admin noscript loading stale | admin slow dangerous connection | connection | - | - | 5.0.0 | O(1) | Ends the waiting of a client in a blocking command.
client|help | 2 | loading stale | slow connection | connection | - | - | 5.0.0 | O(1) | Lists the subcommands of CLIENT.
`;
