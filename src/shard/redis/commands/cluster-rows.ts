/** The commands of a cluster, in the form that {@link ./parse-rows.ts} reads. */
export const CLUSTER_ROWS = `
cluster | -2 | - | slow | server | - | - | 3.0.0 | As the subcommand says | Groups the commands about the cluster.
cluster|slots | 2 | stale | slow | server | - | nondeterministic_output | 3.0.0 | O(n) for n shards | Tells which nodes have which slots.
cluster|shards | 2 | stale | slow | server | - | nondeterministic_output | 7.0.0 | O(n) for n shards | Tells the slots and nodes of each group of nodes.
cluster|nodes | 2 | stale | slow | server | - | nondeterministic_output | 3.0.0 | O(n) for n shards | Describes all nodes, a line each.
cluster|info | 2 | stale | slow | server | - | nondeterministic_output | 3.0.0 | O(n) for n shards | Describes the cluster.
cluster|myid | 2 | stale | slow | server | - | - | 3.0.0 | O(1) | Tells the id of this node.
cluster|links | 2 | stale | slow | server | - | nondeterministic_output | 7.0.0 | O(1) | Nodes have no links of their own: answers none.
cluster|keyslot | 3 | stale | slow | server | - | - | 3.0.0 | O(n) for n bytes of the key | Tells the slot of a key.
cluster|countkeysinslot | 3 | stale | slow | server | - | - | 3.0.0 | O(n) for n keys of the slot | Counts the keys of a slot.
cluster|getkeysinslot | 4 | stale | slow | server | - | nondeterministic_output | 3.0.0 | O(n) for n keys answered | Tells keys of a slot.
cluster|replicas | 3 | admin stale | admin slow dangerous | server | - | nondeterministic_output | 5.0.0 | O(n) for n nodes | Every node leads: answers none.
cluster|slaves | 3 | admin stale | admin slow dangerous | server | - | nondeterministic_output | 3.0.0 | O(n) for n nodes | As CLUSTER REPLICAS.
cluster|help | 2 | loading stale | slow | server | - | - | 5.0.0 | O(1) | Lists the subcommands of CLUSTER.
asking | 1 | fast | fast connection | server | - | - | 3.0.0 | O(1) | Asks for a key that is on its way; keys here never are.
readonly | 1 | loading stale fast | fast connection | server | - | - | 3.0.0 | O(1) | Lets this connection read what replicas have, which may be old.
readwrite | 1 | loading stale fast | fast connection | server | - | - | 3.0.0 | O(1) | Takes READONLY back.
`;
