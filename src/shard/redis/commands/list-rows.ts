/** The commands about lists, in the form that {@link ./parse-rows.ts} reads. */
export const LIST_ROWS = `
blmove | 6 | write denyoom noscript blocking | write list slow blocking | one-slot | 1 0 1 RW access delete, 2 0 1 RW insert | - | 6.2.0 | O(1) | Moves an item from one end of a list to an end of another; waits until there is one.
blmpop | -5 | write blocking movablekeys | write list slow blocking | one-slot | 2 keynum 1 RW access delete | - | 7.0.0 | O(n+m) for n keys and m items answered | Takes items from the first of several lists that has some; waits until one has.
blpop | -3 | write noscript blocking | write list slow blocking | one-slot | 1 -2 1 RW access delete | - | 2.0.0 | O(n) for n keys | Takes the first item of the first list that has one; waits until one has.
brpop | -3 | write noscript blocking | write list slow blocking | one-slot | 1 -2 1 RW access delete | - | 2.0.0 | O(n) for n keys | Takes the last item of the first list that has one; waits until one has.
brpoplpush | 4 | write denyoom noscript blocking | write list slow blocking | one-slot | 1 0 1 RW access delete, 2 0 1 RW insert | - | 2.2.0 | O(1) | Moves the last item of a list to the front of another; waits until there is one.
lindex | 3 | readonly | read list slow | one-key | 1 0 1 RO access | - | 1.0.0 | O(1) | Reads an item of a list by its place.
linsert | 5 | write denyoom | write list slow | one-key | 1 0 1 RW insert | - | 2.2.0 | O(n) for n items up to the pivot, and as many again to make room on the shorter side | Puts an item before or behind another in a list.
llen | 2 | readonly fast | read list fast | one-key | 1 0 1 RO | - | 1.0.0 | O(1) | Counts the items of a list.
lmove | 5 | write denyoom | write list slow | one-slot | 1 0 1 RW access delete, 2 0 1 RW insert | - | 6.2.0 | O(1) | Moves an item from one end of a list to an end of another.
lmpop | -4 | write movablekeys | write list slow | one-slot | 1 keynum 1 RW access delete | - | 7.0.0 | O(n+m) for n keys and m items answered | Takes items from the first of several lists that has some.
lpop | -2 | write fast | write list fast | one-key | 1 0 1 RW access delete | - | 1.0.0 | O(n) for n items answered | Takes the first items of a list.
lpos | -3 | readonly | read list slow | one-key | 1 0 1 RO access | - | 6.0.6 | O(n) for n items looked at | Finds where an item stands in a list.
lpush | -3 | write denyoom fast | write list fast | one-key | 1 0 1 RW insert | - | 1.0.0 | O(n) for n items given | Puts items at the front of a list.
lpushx | -3 | write denyoom fast | write list fast | one-key | 1 0 1 RW insert | - | 2.2.0 | O(n) for n items given | Puts items at the front of a list that is there.
lrange | 4 | readonly | read list slow | one-key | 1 0 1 RO access | - | 1.0.0 | O(n) for n items answered | Reads a range of items of a list.
lrem | 4 | write | write list slow | one-key | 1 0 1 RW delete | - | 1.0.0 | O(n) for n items | Removes items that equal a value from a list.
lset | 4 | write denyoom | write list slow | one-key | 1 0 1 RW update | - | 1.0.0 | O(1) | Replaces an item of a list by its place.
ltrim | 4 | write | write list slow | one-key | 1 0 1 RW delete | - | 1.0.0 | O(n) for n items removed, or kept if they are fewer | Keeps a range of items of a list and removes the others.
rpop | -2 | write fast | write list fast | one-key | 1 0 1 RW access delete | - | 1.0.0 | O(n) for n items answered | Takes the last items of a list.
rpoplpush | 3 | write denyoom | write list slow | one-slot | 1 0 1 RW access delete, 2 0 1 RW insert | - | 1.2.0 | O(1) | Moves the last item of a list to the front of another.
rpush | -3 | write denyoom fast | write list fast | one-key | 1 0 1 RW insert | - | 1.0.0 | O(n) for n items given | Puts items at the end of a list.
rpushx | -3 | write denyoom fast | write list fast | one-key | 1 0 1 RW insert | - | 2.2.0 | O(n) for n items given | Puts items at the end of a list that is there.
`;
