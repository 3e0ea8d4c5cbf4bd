import { ClusterConversation } from './cluster-conversation.ts';
import { goldenConversations } from './golden.ts';

// What is left when a node of a cluster dies between two steps, and how the others and it go on, in testdata/cluster/*.txt. A paragraph is a fresh
// cluster. A line after > is done, what follows it came of it:
//   go N: so many steps are taken, each by the first node that has one to take, or by the leader of the meta shard; go on: all that can be taken
//   apart: two shards, s1 of n1 and n2, and behind it s2 of n3 and n4
//   die N: the node dies with its last step durable, lose N: without it, and is up again at once       away, back: it is down, it is up again
//   burn: the log of a shard is gone       accept: somebody gives up what only nodes have that are away
//   check: what the replicas of each shard have, and what is left on nodes that are to have nothing

goldenConversations(new URL('./testdata/cluster/', import.meta.url), () => new ClusterConversation());
