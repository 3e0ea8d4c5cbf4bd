import type { ReadMode } from '../src/node/replica-driver.ts';
import type { EntryCommand } from '../src/shard/entry.ts';
import type { ReplySink } from '../src/shard/reply-sink.ts';
import type { ClientPort } from './sim-client.ts';
import type { SimNetwork } from './sim-network.ts';
import type { SimAction } from './workload/sim-module.ts';
import type { SimQueryRequest } from './workload/workload.ts';

/** What answers clients. */
export interface Serving {
  submit(command: EntryCommand<SimAction>, sink: ReplySink<string>): void;
  ask(request: SimQueryRequest, mode: ReadMode, sink: ReplySink<string>): void;
}

/** Carries requests of clients to processes, and answers back, over the network. `told`: a process has just answered a command. */
export function clientPort<Process extends Serving>(network: SimNetwork<Process>, told: () => void = () => {}): ClientPort {
  const back = (node: string, { settled, failed }: ReplySink<string>): ReplySink<string> => ({
    settled: (token, text) => network.answer(node, 'reply', () => settled(token, text)),
    failed: (token, error) => network.answer(node, 'refusal', () => failed(token, error)),
  });
  return {
    command(from, node, command, mayDouble, sink) {
      const way = back(node, sink);
      const settled = (token: number, text: string): void => {
        way.settled(token, text);
        told();
      };
      network.send(from, node, 'request', (process) => process.submit(command, { settled, failed: way.failed }), mayDouble);
    },
    query(from, node, request, mode, sink) {
      network.send(from, node, 'request', (process) => process.ask(request, mode, back(node, sink)), true);
    },
  };
}
