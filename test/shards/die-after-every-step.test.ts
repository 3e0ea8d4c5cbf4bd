import { Conversation } from './conversation.ts';
import { goldenConversations } from './golden.ts';

// What is left when a node dies between two steps of a split or of a merge, and how the next start goes on, in testdata/*.txt. A paragraph is a fresh
// store with one shard and ten keys, of which mango and olive lie above 80000000 and apple below. A line after > is done, what follows it came of it:
//   steps N: so many steps of the workflow are taken, and then no more       crash: the power goes off, in the middle of a write that nobody was told of
//   go on: all steps are taken that can be                                  waits: no shard serves that key, the request is kept

goldenConversations(new URL('./testdata/', import.meta.url), async () => {
  const conversation = new Conversation();
  await conversation.open();
  return conversation;
});
