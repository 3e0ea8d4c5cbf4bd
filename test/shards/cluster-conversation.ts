import { fromUtf8, toHex, utf8 } from '../../src/base/bytes.ts';
import { RemovedShards } from '../../src/node/cluster/removed-shards.ts';
import { murmur3Position } from '../../src/partition/hash/murmur3-x86-128.ts';
import { decodeEntry, type Entry, type EntryCommand, encodeEntry } from '../../src/shard/entry.ts';
import { stateKey } from '../../src/shard/key-layout.ts';
import { type Hosted, hostedBy, type LogName } from '../../src/shard/meta/hosting.ts';
import type { Workflow } from '../../src/shard/meta/shard-map.ts';
import { type ClusterSight, nextStep } from '../../src/shard/meta/workflow-step.ts';
import { type PlainCommand, plain, plainBytes } from '../../src/shard/plain-bytes.ts';
import { SnapshotReader, SnapshotWriter } from '../../src/shard/replica/snapshot.ts';
import { encodeShardState, newShardState } from '../../src/shard/shard-state.ts';
import { MetaCluster } from '../shard/meta-cluster.ts';
import { showState, showStep, showWorkflow } from './cluster-shown.ts';
import { WORDS } from './conversation.ts';
import { ConversationLogs, type Log, lastOf } from './conversation-logs.ts';
import { type Machine, Node, openMachine } from './conversation-node.ts';
import { findLost, recover, stop } from './lost-log-steps.ts';

// Nodes that share the logs of their shards and a meta shard, and take one step at a time: whichever node looks first and has one to take. Each step
// is a batch of that node's storage, durable only when the next one is taken, so a node can die with its last step or without it.

export class ClusterConversation {
  readonly #meta = new MetaCluster();
  readonly #nodes: Node[] = [];
  readonly #logs = new ConversationLogs();
  /** Keyspaces by shard, of all that were ever seen, as a node remembers of what it has. */
  readonly #keyspaceOf = new Map<number, number>();

  /** Does what a line says, and returns the lines that it answers. */
  say(line: string): string[] {
    const [verb, ...words] = line.split(' ') as [string, ...string[]];
    switch (verb) {
      case 'nodes':
        for (const id of words) this.#join(id);
        return this.#showNodes();
      case 'register':
        this.#meta.register(words[0]!, 1);
        this.#learn();
        for (const node of this.#nodes) this.#begin(node);
        for (const word of WORDS) this.#put(word, 'old');
        this.#everyoneRuns();
        return this.state();
      case 'apart': {
        const setUp = [
          'nodes n1 n2',
          'register users',
          'split s1 80000000',
          'go on',
          'nodes n3 n4',
          'move s2 n1 n3',
          'go on',
          'move s2 n2 n4',
        ];
        for (const one of setUp) this.say(one);
        return this.say('go on').filter((shown) => /^meta| s\d /.test(shown) && !/: /.test(shown));
      }
      case 'move':
        this.#change({ kind: 'move', shard: Number(words[0]!.slice(1)), remove: words[1]!, add: words[2]! });
        return this.#showMap();
      case 'cancel':
        this.#change({ kind: 'cancel', op: Number(words[0]) });
        return this.#showMap();
      case 'split':
        this.#change({ kind: 'split', shard: Number(words[0]!.slice(1)), at: Number.parseInt(words[1]!, 16) });
        return this.#showMap();
      case 'merge':
        this.#change({ kind: 'merge', shard: Number(words[0]!.slice(1)) });
        return this.#showMap();
      case 'deregister':
        this.#meta.run({ kind: 'deregister', name: words[0]! });
        return this.#showMap();
      case 'place':
        this.#meta.cluster({ kind: 'place' });
        return this.#showMap();
      case 'drain':
        this.#meta.cluster({ kind: 'node-drain', id: words[0]!, drains: true });
        return this.#showNodes();
      case 'go':
        return [...this.#go(words[0] === 'on' ? 99 : Number(words[0])).map((step) => `  ${step}`), ...this.state()];
      case 'put':
        return [this.#put(words[0]!, words[1]!)];
      case 'burn': {
        const shard = Number(words[0]!.slice(1));
        this.#logs.burn({ shard, generation: this.#generation(shard) });
        return [];
      }
      case 'accept':
        this.#change({ kind: 'accept-loss', shard: Number(words[0]!.slice(1)) });
        return this.#showMap();
      case 'die':
      case 'lose':
        this.#node(words[0]!).die(verb === 'die');
        return this.state();
      case 'away':
      case 'back':
        this.#node(words[0]!).isAway = verb === 'away';
        this.#meta.cluster({ kind: 'node-status', id: words[0]!, status: verb === 'away' ? 'down' : 'up' });
        return this.#showNodes();
      case 'wait':
        this.#meta.nowMs += Number(words[0]) * 60_000;
        return [];
      case 'check':
        return this.#check();
      default:
        throw new Error(`what is ${verb}?`);
    }
  }

  /** The map of the meta shard, and what each node has. */
  state(): string[] {
    const have = this.#nodes.flatMap((node) => {
      const states = [...this.#keyspaceOf.keys()].sort((a, b) => a - b).flatMap((shard) => node.stateOf(shard) ?? []);
      return states.map((state) => `  ${node.id}  s${state.id} ${showState(state)}${node.isAway ? ', away' : ''}`);
    });
    return [...this.#showMap(), ...have];
  }

  #join(id: string): void {
    this.#meta.join(id);
    if (!this.#nodes.some((node) => node.id === id)) this.#nodes.push(new Node(id));
  }

  #node(id: string): Node {
    return this.#nodes.find((node) => node.id === id)!;
  }

  get #name(): string | undefined {
    return this.#meta.nodes.keyspaces[0];
  }

  #change(change: Parameters<MetaCluster['change']>[1]): void {
    this.#meta.change(this.#name!, change);
    this.#learn();
  }

  /** Which shard is of which keyspace. */
  #learn(): void {
    for (const name of this.#meta.nodes.keyspaces) {
      const { id } = this.#meta.keyspace(name);
      const map = this.#meta.map(name);
      for (const shard of map.shards) this.#keyspaceOf.set(shard.id, id);
      for (const workflow of map.workflows) if (workflow.kind === 'split') this.#keyspaceOf.set(workflow.child, id);
    }
  }

  #hosted(node: Node): Hosted[] {
    return this.#meta.nodes.keyspaces.flatMap((name) => hostedBy(this.#meta.map(name), node.id));
  }

  // One step at a time.

  #go(limit: number): string[] {
    const taken: string[] = [];
    while (taken.length < limit) {
      const step = this.#step();
      if (step === undefined) break;
      taken.push(step);
    }
    return taken;
  }

  #step(): string | undefined {
    for (const node of this.#nodes) {
      if (node.isAway) continue;
      const step = this.#stepOf(node);
      if (step === undefined) continue;
      // Those before it are durable by now.
      node.storage.release();
      node.storage.commit();
      return `${node.id}: ${step}`;
    }
    return this.#stepOfMetaLeader();
  }

  #stepOf(node: Node): string | undefined {
    const hosted = this.#hosted(node);
    for (const one of hosted) {
      const step = one.isLost
        ? stop(node, one)
        : (findLost(node, one, this.#logs.isGone(one)) ?? this.#bring(node, one) ?? this.#run(node, one));
      if (step !== undefined) return step;
    }
    return this.#remove(node) ?? this.#append(node);
  }

  /** Goes on behind the entry where the log begins, when that is the last one that was run here. */
  #goOnWith(node: Node, shard: number, generation: number): string | undefined {
    const state = node.stateOf(shard);
    const basis = this.#meta.shards().find(({ id }) => id === shard)?.basis;
    if (!state || state.status === 'faulted' || state.applied !== basis?.seq || toHex(state.hash) !== basis.hash) return undefined;
    node.storage.put(stateKey(shard), encodeShardState({ ...state, logGeneration: generation }));
    this.#forget(node, shard);
    return `goes on with generation ${generation} of s${shard}`;
  }

  #forget(node: Node, shard: number): void {
    const { machines, led, lost } = node.process;
    machines.delete(shard);
    led.delete(shard);
    lost.delete(shard);
  }

  /** Brings the data of a shard of which there is no sound copy here, or none that its log follows. */
  #bring(node: Node, { shard, as, replicas, generation }: Hosted): string | undefined {
    const state = node.stateOf(shard);
    const isOld = state !== undefined && state.logGeneration < generation;
    if ((state && state.status !== 'faulted' && !isOld) || as === 'child' || as === 'leaving') return undefined;
    const goesOn = isOld ? this.#goOnWith(node, shard, generation) : undefined;
    if (goesOn !== undefined) return goesOn;
    const { bringing, machines } = node.process;
    const under = bringing.get(shard);
    const keyspaceId = this.#keyspaceOf.get(shard)!;
    if (!under) {
      const giver = this.#nodes.find(
        (one) =>
          one.id !== node.id &&
          !one.isAway &&
          replicas.includes(one.id) &&
          this.#machine(one, shard) !== undefined &&
          one.stateOf(shard)!.logGeneration >= generation,
      );
      if (!giver) return undefined;
      giver.storage.commit();
      const reader = new SnapshotReader(giver.storage.snapshot(), shard, keyspaceId, 100);
      const writer = new SnapshotWriter(node.storage, reader.state, keyspaceId);
      writer.begin();
      while (!writer.clear(100));
      bringing.set(shard, { giver: giver.process, reader, writer });
      return `takes s${shard} from ${giver.id}, as of entry ${reader.state.applied}`;
    }
    if (!this.#nodes.some((one) => one.process === under.giver && !one.isAway)) {
      bringing.delete(shard);
      return `is given no more of s${shard}`;
    }
    const chunk = under.reader.next();
    if (chunk) {
      under.writer.take(chunk);
      let chunks = 1;
      for (let next = under.reader.next(); next; next = under.reader.next(), chunks++) under.writer.take(next);
      return `takes ${chunks} chunks of s${shard}`;
    }
    under.writer.finish(under.reader.hash);
    bringing.delete(shard);
    this.#forget(node, shard);
    machines.set(shard, openMachine(node.storage, node.stateOf(shard)!, keyspaceId));
    return `has s${shard} as it was at entry ${under.reader.state.applied}`;
  }

  /** Runs what it has not run of a shard's log. */
  #run(node: Node, { shard, generation }: Hosted): string | undefined {
    const machine = this.#machine(node, shard);
    const log = this.#log({ shard, generation });
    if (!machine || !log || machine.state.logGeneration !== generation || machine.state.applied >= lastOf(log)) return undefined;
    while (machine.state.applied < lastOf(log)) {
      const seq = machine.state.applied + 1;
      const applied = machine.applyEntry(decodeEntry(log.entries[seq - log.base - 1]!, plainBytes.commandCodec), seq);
      if (applied.kind === 'waits') {
        if (node.stateOf(applied.shard)) return undefined;
        // It was taken over while this node was away: what came of it must be brought whole.
        node.process.machines.delete(shard);
        node.storage.put(stateKey(shard), encodeShardState({ ...machine.state, status: 'faulted' }));
        return `cannot run s${shard} beyond entry ${seq - 1} without s${applied.shard}`;
      }
      if (applied.kind === 'fault' || applied.kind === 'gap')
        throw new Error(`${node.id} met ${applied.kind} at entry ${seq} of s${shard}`);
    }
    return `runs s${shard} up to entry ${machine.state.applied}`;
  }

  /** Gives up what it is to have no more, and then removes what it had of it. */
  #remove(node: Node): string | undefined {
    const removed = new RemovedShards(node.storage, (shard) => this.#keyspaceOf.get(shard));
    const hosted = this.#hosted(node);
    for (const state of removed.stored()) {
      if (hosted.some(({ shard }) => shard === state.id)) continue;
      node.process.machines.delete(state.id);
      node.process.bringing.delete(state.id);
      removed.left(state, this.#keyspaceOf.get(state.id)!);
      return `gives s${state.id} up`;
    }
    return removed.remove((work) => work(node.storage)) ? 'removes what is left' : undefined;
  }

  /** The step of a split or of a merge that is for a shard which this node leads. */
  #append(node: Node): string | undefined {
    for (const name of this.#meta.nodes.keyspaces) {
      for (const workflow of this.#meta.map(name).workflows) {
        const step = nextStep(workflow, (shard) => this.#machine(node, shard)?.state);
        if (step?.kind !== 'append' || this.#leader(step.shard) !== node) continue;
        this.#appendTo(step.shard, { kind: 'control', control: step.command });
        return showStep(step);
      }
    }
    return undefined;
  }

  /** What only the leader of the meta shard sees: it hears of all nodes what they have, as far as that is durable. */
  #stepOfMetaLeader(): string | undefined {
    const sight: ClusterSight = {
      isLive: (id) => ['up', 'draining'].includes(this.#meta.nodes.nodes.find((node) => node.id === id)?.status ?? ''),
      neededSeq: (shard) => {
        const log = this.#log({ shard, generation: this.#generation(shard) });
        return log === undefined ? 0 : lastOf(log);
      },
      replicas: (shard) => this.#meta.shards().find(({ id }) => id === shard)?.replicas ?? [],
      report: (shard, id) => {
        const node = this.#node(id);
        const machine = node.isAway ? undefined : this.#machine(node, shard);
        if (!machine) return undefined;
        // Nothing is reported before it is durable.
        node.storage.release();
        const { applied } = machine.state;
        const joins = this.#hosted(node).find((one) => one.shard === shard)?.joins;
        const log = this.#log({ shard, generation: this.#generation(shard) });
        return { joins, isCaughtUp: log !== undefined && applied >= lastOf(log), durableSeq: applied };
      },
    };
    for (const name of this.#meta.nodes.keyspaces) {
      for (const shard of this.#meta.map(name).shards) {
        const step = recover(name, shard, { nodes: this.#nodes, meta: this.#meta, logs: this.#logs, isLive: sight.isLive });
        if (step !== undefined) return step;
      }
      for (const workflow of this.#meta.map(name).workflows) {
        const looking =
          this.#nodes.find((node) => !node.isAway && this.#leadsAny(node, workflow)) ?? this.#nodes.find(({ isAway }) => !isAway)!;
        const step = nextStep(workflow, (shard) => this.#machine(looking, shard)?.state, sight);
        if (!step || step.kind === 'append') continue;
        this.#meta.change(name, step.change);
        return showStep(step);
      }
    }
    const { oldLogs } = this.#meta.nodes;
    const undeleted = oldLogs.find((log) => this.#logs.has(log));
    if (undeleted) {
      this.#logs.delete(undeleted);
      return `the log of s${undeleted.shard} is deleted`;
    }
    if (oldLogs.length === 0) return undefined;
    this.#meta.cluster({ kind: 'logs-deleted', logs: oldLogs });
    return 'logs-deleted to the meta shard';
  }

  #leadsAny(node: Node, workflow: Workflow): boolean {
    if (workflow.kind === 'split') return this.#leader(workflow.parent) === node;
    return workflow.kind === 'merge' && this.#leader(workflow.left) === node;
  }

  // Logs and their leaders.

  /** Of a shard's log. */
  #generation(shard: number): number {
    return this.#meta.shards().find(({ id }) => id === shard)?.generation ?? 1;
  }

  /** Undefined: it is gone. */
  #log(log: LogName): Log | undefined {
    const isOld = this.#meta.nodes.oldLogs.some(({ shard, generation }) => shard === log.shard && generation === log.generation);
    return this.#logs.get(log, isOld);
  }

  /** The first of its replicas that is there and has run all of its log; it claims the shard, if it does not lead it. */
  #leader(shard: number): Node | undefined {
    const {
      replicas = [],
      generation = 1,
      lost,
    } = this.#meta.shards().find(({ id }) => id === shard) ?? {
      replicas: this.#meta.shards()[0]?.replicas,
    };
    const log = lost ? undefined : this.#log({ shard, generation });
    for (const id of replicas) {
      const node = this.#node(id);
      const state = node.isAway ? undefined : this.#machine(node, shard)?.state;
      if (log && state && state.logGeneration === generation && state.applied === lastOf(log)) return node;
    }
    return undefined;
  }

  #appendTo(shard: number, command: EntryCommand<PlainCommand>): void {
    const node = this.#leader(shard)!;
    const machine = this.#machine(node, shard)!;
    const send = (entry: Partial<Entry<PlainCommand>>, commands: readonly EntryCommand<PlainCommand>[]): void => {
      const { epoch, leader, hash: prevHash, nowMs, applied } = machine.state;
      const whole = { epoch, leader, prevHash, nowMs, commands, ...entry } as Entry<PlainCommand>;
      this.#log({ shard, generation: this.#generation(shard) })!.entries.push(encodeEntry(whole, plainBytes.commandCodec));
      const outcome = machine.applyEntry(whole, applied + 1);
      if (outcome.kind === 'waits') throw new Error(`s${shard} waits`);
    };
    const { leader, epoch, leaderSeq, status } = machine.state;
    if (leader !== node.id && status !== 'awaiting-genesis')
      send({ kind: 'claim', basis: leaderSeq, epoch: epoch + 1, leader: node.id }, []);
    send({}, [command]);
    node.process.led.add(shard);
    node.storage.commit();
  }

  #put(key: string, value: string): string {
    const position = murmur3Position(utf8(key));
    const shard = this.#meta.shards().find(({ range }) => position >= range.from && position < range.to)?.id;
    if (shard === undefined) return `${key}: no keyspace`;
    const node = this.#leader(shard);
    if (!node) return `${key}: nobody leads s${shard}`;
    if (!this.#machine(node, shard)!.isServing) return `${key}: waits`;
    this.#appendTo(shard, { kind: 'command', key: utf8(key), command: plain.set(utf8(value)) });
    node.storage.release();
    return `${key}: ok, by ${node.id}`;
  }

  #everyoneRuns(): void {
    for (const node of this.#nodes) {
      for (const hosted of this.#hosted(node)) this.#run(node, hosted);
      node.storage.commit();
      node.storage.release();
    }
  }

  /** Of a new keyspace every replica begins empty, and alike. */
  #begin(node: Node): void {
    for (const name of this.#meta.nodes.keyspaces) {
      const { table, shards, id } = this.#meta.keyspace(name);
      for (const { id: shard, range, replicas } of shards) {
        if (!replicas!.includes(node.id) || node.stateOf(shard)) continue;
        const state = { ...newShardState({ id: shard, range, table, leader: '' }), epoch: 0 };
        node.process.machines.set(shard, openMachine(node.storage, state, id));
      }
    }
  }

  #machine(node: Node, shard: number): Machine | undefined {
    const known = node.process.machines.get(shard);
    if (known) return known;
    const state = node.stateOf(shard);
    if (!state || state.status === 'faulted') return undefined;
    const machine = openMachine(node.storage, state, this.#keyspaceOf.get(shard)!);
    node.process.machines.set(shard, machine);
    return machine;
  }

  // What is shown.

  #showNodes(): string[] {
    return [this.#meta.nodes.nodes.map(({ id, status }) => `${id} ${status}`).join(', ')];
  }

  #showMap(): string[] {
    const { keyspaces, oldLogs } = this.#meta.nodes;
    const old = oldLogs.length > 0 ? `  (old logs: ${oldLogs.map(({ shard }) => `s${shard}`).join(', ')})` : '';
    if (keyspaces.length === 0) return [`meta  no keyspace${old}`];
    const { shards, workflows } = this.#meta.map(keyspaces[0]!);
    const shown = shards.map(({ id, replicas, lost }) => `s${id} on ${replicas!.join(', ')}${lost ? ', its log is lost' : ''}`).join('; ');
    return [`meta  ${shown}${workflows.map((one) => `  (${showWorkflow(one)})`).join('')}${old}`];
  }

  /** What the leaders have, and whether all that have a shard have the same. */
  #check(): string[] {
    const lines: string[] = [];
    for (const { id: shard, replicas = [] } of this.#meta.shards()) {
      const dumps = replicas.filter((id) => !this.#node(id).isAway).map((id) => this.#show(this.#node(id), shard));
      lines.push(
        dumps.every((dump) => dump === dumps[0]) ? `s${shard} everywhere: ${dumps[0]}` : `s${shard} differs: ${dumps.join(' | ')}`,
      );
    }
    for (const node of this.#nodes) {
      const shards = this.#hosted(node).length;
      if (shards === 0) lines.push(`${node.id} stores ${[...node.storage.scan({ from: Uint8Array.of(0) })].length} pairs`);
    }
    return lines;
  }

  #show(node: Node, shard: number): string {
    const machine = this.#machine(node, shard);
    if (!machine) return 'nothing';
    const read = (word: string): string | undefined => {
      const position = murmur3Position(utf8(word));
      const { from, to } = machine.state.range;
      if (position < from || position >= to) return undefined;
      const { value } = machine.query(utf8(word), position, plain.get(), 0);
      return value && fromUtf8(value);
    };
    const changed = WORDS.flatMap((word) => (read(word) === undefined || read(word) === 'old' ? [] : [`${word} = ${read(word)}`]));
    const { keys } = machine.counts.sum();
    return [`${machine.state.keyCount} keys, ${keys} by slot, entry ${machine.state.applied}`, ...changed].join('; ');
  }
}
