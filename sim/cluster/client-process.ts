import { ClusterClient } from '../../src/node/cluster/cluster-client.ts';
import type { ReplySink } from '../../src/shard/reply-sink.ts';
import type { ClientPort } from '../sim-client.ts';
import type { SimMachine } from '../sim-machine.ts';
import { KeyspaceProcess, type ProcessSurroundings } from './keyspace-process.ts';

export interface ClientSurroundings extends ProcessSurroundings {
  readonly requestTimeoutMs: number;
}

/** The process of a program that uses `connectCluster`: the client that ships, on simulated ports. */
export class ClientProcess extends KeyspaceProcess {
  readonly #requestTimeoutMs: number;
  #client: ClusterClient | undefined;

  constructor(machine: SimMachine<ClientProcess>, surroundings: ClientSurroundings) {
    super(machine, surroundings);
    this.#requestTimeoutMs = surroundings.requestTimeoutMs;
  }

  /** Undefined until some node has told it the map. */
  get client(): ClusterClient | undefined {
    return this.#client;
  }

  protected async open(): Promise<ClusterClient> {
    const { machine, transport } = this;
    const requestTimeoutMs = this.#requestTimeoutMs;
    const onBackgroundError = (error: Error): void => this.met(error);
    this.#client = await this.again(() =>
      ClusterClient.open({
        ...{ self: machine.name, cluster: 'sim', clock: machine.clock, transport },
        ...{ requestTimeoutMs, onBackgroundError },
      }),
    );
    return this.#client;
  }
}

/** For those who are in the client's own process: between them and it nothing is lost, and all is lost with it. */
export function portOf(machine: SimMachine<ClientProcess>): ClientPort {
  const back = ({ settled, failed }: ReplySink<string>): ReplySink<string> => ({
    settled: (token, text) => machine.emit('reply', 0, () => settled(token, text)),
    failed: (token, error) => machine.emit('refusal', 0, () => failed(token, error)),
  });
  return {
    command: (_from, _node, command, _mayDouble, sink) => machine.receive('request', () => machine.process!.submit(command, back(sink))),
    query: (_from, _node, request, mode, sink) => machine.receive('request', () => machine.process!.ask(request, mode, back(sink))),
  };
}
