/** The commands about sorted sets, in the form that {@link ./parse-rows.ts} reads. */
export const SORTED_SET_ROWS = `
bzmpop | -5 | write blocking movablekeys | write sortedset slow blocking | one-slot | 2 keynum 1 RW access delete | - | 7.0.0 | O(k+m*log n) for k keys and m members answered of n | Takes the least or greatest members of the first sorted set that has some; waits until one has.
bzpopmax | -3 | write noscript blocking fast | write sortedset fast blocking | one-slot | 1 -2 1 RW access delete | - | 5.0.0 | O(log n) for n members | Takes the greatest member of the first sorted set that has one; waits until one has.
bzpopmin | -3 | write noscript blocking fast | write sortedset fast blocking | one-slot | 1 -2 1 RW access delete | - | 5.0.0 | O(log n) for n members | Takes the least member of the first sorted set that has one; waits until one has.
zadd | -4 | write denyoom fast | write sortedset fast | one-key | 1 0 1 RW update | - | 1.2.0 | O(m*log n) for m members given, of n | Adds members to a sorted set, or changes their scores.
zcard | 2 | readonly fast | read sortedset fast | one-key | 1 0 1 RO | - | 1.2.0 | O(1) | Counts the members of a sorted set.
zcount | 4 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 2.0.0 | O(log n) for n members | Counts the members with scores in a range.
zdiff | -3 | readonly movablekeys | read sortedset slow | one-slot | 1 keynum 1 RO access | - | 6.2.0 | O(n) for n members of all sets, and sorting the answer | Lists the members of a sorted set that others do not have.
zdiffstore | -4 | write denyoom movablekeys | write sortedset slow | one-slot | 1 0 1 OW update, 2 keynum 1 RO access | - | 6.2.0 | O(n+m*log m) for n members of all sets and m stored | Stores the members of a sorted set that others do not have.
zincrby | 4 | write denyoom fast | write sortedset fast | one-key | 1 0 1 RW access update | - | 1.2.0 | O(log n) for n members | Adds an amount to the score of a member.
zinter | -3 | readonly movablekeys | read sortedset slow | one-slot | 1 keynum 1 RO access | - | 6.2.0 | O(n*m) for n members of the smallest of m sets, and sorting the answer | Lists the members that all sorted sets have.
zintercard | -3 | readonly movablekeys | read sortedset slow | one-slot | 1 keynum 1 RO access | - | 7.0.0 | O(n*m) for n members of the smallest of m sets | Counts the members that all sorted sets have.
zinterstore | -4 | write denyoom movablekeys | write sortedset slow | one-slot | 1 0 1 OW update, 2 keynum 1 RO access | - | 2.0.0 | O(n*m) for n members of the smallest of m sets, and storing the answer | Stores the members that all sorted sets have.
zlexcount | 4 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 2.8.9 | O(log n) for n members | Counts the members in a range of names.
zmpop | -4 | write movablekeys | write sortedset slow | one-slot | 1 keynum 1 RW access delete | - | 7.0.0 | O(k+m*log n) for k keys and m members answered of n | Takes the least or greatest members of the first sorted set that has some.
zmscore | -3 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 6.2.0 | O(n) for n members asked for | Tells the scores of several members.
zpopmax | -2 | write fast | write sortedset fast | one-key | 1 0 1 RW access delete | - | 5.0.0 | O(m*log n) for m members answered, of n | Takes the members with the highest scores.
zpopmin | -2 | write fast | write sortedset fast | one-key | 1 0 1 RW access delete | - | 5.0.0 | O(m*log n) for m members answered, of n | Takes the members with the lowest scores.
zrandmember | -2 | readonly | read sortedset slow | one-key | 1 0 1 RO access | nondeterministic_output | 6.2.0 | O(m*log n) for m members answered, of n | Names members of a sorted set picked by chance.
zrange | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 1.2.0 | O(m+log n) for m members answered, of n | Reads a range of members by rank, score or name.
zrangebylex | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 2.8.9 | O(m+log n) for m members answered, of n | Reads the members in a range of names.
zrangebyscore | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 1.0.5 | O(m+log n) for m members answered, of n | Reads the members in a range of scores.
zrangestore | -5 | write denyoom | write sortedset slow | one-slot | 1 0 1 OW update, 2 0 1 RO access | - | 6.2.0 | O(m*log m+log n) for m members stored, of n | Stores a range of members by rank, score or name.
zrank | 3 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 2.0.0 | O(log n) for n members | Tells the rank of a member, lowest score first.
zrem | -3 | write fast | write sortedset fast | one-key | 1 0 1 RW delete | - | 1.2.0 | O(m*log n) for m members given, of n | Removes members from a sorted set.
zremrangebylex | 4 | write | write sortedset slow | one-key | 1 0 1 RW delete | - | 2.8.9 | O(m*log n) for m members removed, of n | Removes the members in a range of names.
zremrangebyrank | 4 | write | write sortedset slow | one-key | 1 0 1 RW delete | - | 2.0.0 | O(m*log n) for m members removed, of n | Removes the members in a range of ranks.
zremrangebyscore | 4 | write | write sortedset slow | one-key | 1 0 1 RW delete | - | 1.2.0 | O(m*log n) for m members removed, of n | Removes the members in a range of scores.
zrevrange | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 1.2.0 | O(m+log n) for m members answered, of n | Reads a range of members by rank, highest score first.
zrevrangebylex | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 2.8.9 | O(m+log n) for m members answered, of n | Reads the members in a range of names, last first.
zrevrangebyscore | -4 | readonly | read sortedset slow | one-key | 1 0 1 RO access | - | 2.2.0 | O(m+log n) for m members answered, of n | Reads the members in a range of scores, highest first.
zrevrank | 3 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 2.0.0 | O(log n) for n members | Tells the rank of a member, highest score first.
zscan | -3 | readonly | read sortedset slow | one-key | 1 0 1 RO access | nondeterministic_output | 2.8.0 | O(1) a call, O(n) for a whole walk over n members | Walks over the members of a sorted set, some at a time.
zscore | 3 | readonly fast | read sortedset fast | one-key | 1 0 1 RO access | - | 1.2.0 | O(1) | Tells the score of a member.
zunion | -3 | readonly movablekeys | read sortedset slow | one-slot | 1 keynum 1 RO access | - | 6.2.0 | O(n) for n members of all sets, and sorting the answer | Lists the members that any of several sorted sets has.
zunionstore | -4 | write denyoom movablekeys | write sortedset slow | one-slot | 1 0 1 OW update, 2 keynum 1 RO access | - | 2.0.0 | O(n+m*log m) for n members of all sets and m stored | Stores the members that any of several sorted sets has.
`;
