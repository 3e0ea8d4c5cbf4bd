/** The commands about sets, in the form that {@link ./parse-rows.ts} reads. */
export const SET_ROWS = `
sadd | -3 | write denyoom fast | write set fast | one-key | 1 0 1 RW insert | - | 1.0.0 | O(n) for n members given | Adds members to a set.
scard | 2 | readonly fast | read set fast | one-key | 1 0 1 RO | - | 1.0.0 | O(1) | Counts the members of a set.
sdiff | -2 | readonly | read set slow | one-slot | 1 -1 1 RO access | nondeterministic_output_order | 1.0.0 | O(n) for n members of all sets | Lists the members of a set that others do not have.
sdiffstore | -3 | write denyoom | write set slow | one-slot | 1 0 1 OW update, 2 -1 1 RO access | - | 1.0.0 | O(n) for n members of all sets | Stores the members of a set that others do not have.
sinter | -2 | readonly | read set slow | one-slot | 1 -1 1 RO access | nondeterministic_output_order | 1.0.0 | O(n*m) for n members of the smallest of m sets | Lists the members that all sets have.
sintercard | -3 | readonly movablekeys | read set slow | one-slot | 1 keynum 1 RO access | - | 7.0.0 | O(n*m) for n members of the smallest of m sets | Counts the members that all sets have.
sinterstore | -3 | write denyoom | write set slow | one-slot | 1 0 1 RW update, 2 -1 1 RO access | - | 1.0.0 | O(n*m) for n members of the smallest of m sets | Stores the members that all sets have.
sismember | 3 | readonly fast | read set fast | one-key | 1 0 1 RO | - | 1.0.0 | O(1) | Tells whether a set has a member.
smembers | 2 | readonly | read set slow | one-key | 1 0 1 RO access | nondeterministic_output_order | 1.0.0 | O(n) for n members | Lists the members of a set.
smismember | -3 | readonly fast | read set fast | one-key | 1 0 1 RO access | - | 6.2.0 | O(n) for n members asked for | Tells of several members whether a set has them.
smove | 4 | write fast | write set fast | one-slot | 1 0 1 RW access delete, 2 0 1 RW insert | - | 1.0.0 | O(1) | Moves a member from one set to another.
spop | -2 | write fast | write set fast | one-key | 1 0 1 RW access delete | nondeterministic_output | 1.0.0 | O(n) for n members answered | Takes members out of a set by chance.
srandmember | -2 | readonly | read set slow | one-key | 1 0 1 RO access | nondeterministic_output | 1.0.0 | O(n) for n members answered | Names members of a set picked by chance.
srem | -3 | write fast | write set fast | one-key | 1 0 1 RW delete | - | 1.0.0 | O(n) for n members given | Removes members from a set.
sscan | -3 | readonly | read set slow | one-key | 1 0 1 RO access | nondeterministic_output | 2.8.0 | O(1) a call, O(n) for a whole walk over n members | Walks over the members of a set, some at a time.
sunion | -2 | readonly | read set slow | one-slot | 1 -1 1 RO access | nondeterministic_output_order | 1.0.0 | O(n) for n members of all sets | Lists the members that any of several sets has.
sunionstore | -3 | write denyoom | write set slow | one-slot | 1 0 1 OW update, 2 -1 1 RO access | - | 1.0.0 | O(n) for n members of all sets | Stores the members that any of several sets has.
`;
