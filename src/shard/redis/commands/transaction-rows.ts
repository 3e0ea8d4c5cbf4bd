/** The commands about transactions, in the form that {@link ./parse-rows.ts} reads. */
export const TRANSACTION_ROWS = `
discard | 1 | noscript loading stale fast allow_busy | fast transaction | connection | - | - | 2.0.0 | O(1) | Forgets the transaction that MULTI began.
exec | 1 | noscript loading stale skip_slowlog | slow transaction | connection | - | - | 1.2.0 | As the commands of the transaction | Carries out the transaction that MULTI began, all at once.
multi | 1 | noscript loading stale fast allow_busy | fast transaction | connection | - | - | 1.2.0 | O(1) | Begins a transaction: commands wait for EXEC.
unwatch | 1 | noscript loading stale fast allow_busy | fast transaction | connection | - | - | 2.2.0 | O(1) | Forgets the keys that WATCH named.
watch | -2 | noscript loading stale fast allow_busy | fast transaction | connection | 1 -1 1 RO | - | 2.2.0 | O(n) for n keys | Has the next EXEC do nothing if one of the keys changes before it.
`;
