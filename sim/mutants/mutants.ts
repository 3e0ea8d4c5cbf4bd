import { CLUSTER_HUNTS, type ClusterHunt } from '../cluster/cluster-simulation.ts';
import type { Hunt } from '../simulation.ts';

// Bugs that the simulator must find: each an edit of the shipped source, made when the simulator is bundled. An edit whose text is no longer there,
// or is there twice, fails the test that runs them, so a mutant cannot quietly become none.

export interface Edit {
  /** From the root of the project. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Which runs are after bugs of a kind; `cluster`: those of a whole one, after nothing in particular. */
export type MutantHunt = Hunt | ClusterHunt | 'cluster';

export interface Mutant {
  readonly name: string;
  /** What goes wrong. */
  readonly why: string;
  readonly edits: readonly Edit[];
  readonly hunt: MutantHunt;
  /** Where to begin: near a seed that finds it, so that the test is quick. */
  readonly firstSeed: number;
  /** It is found in so many seeds from there on. */
  readonly withinSeeds: number;
  /** How it is told, if that matters. */
  readonly foundAs?: RegExp;
}

/** What the simulator is told to run a mutant: on one thread, since mutants run side by side. */
export function optionsOf({ hunt }: Pick<Mutant, 'hunt'>): readonly string[] {
  return ['--workers', '1', ...runOf(hunt)];
}

function runOf(hunt: MutantHunt): readonly string[] {
  if (hunt === 'cluster') return ['--cluster', '--seconds', '20'];
  return CLUSTER_HUNTS.some((one) => one === hunt) ? ['--cluster', '--hunt', hunt, '--seconds', '20'] : ['--hunt', hunt, '--seconds', '30'];
}

const LEADERSHIP = 'src/shard/leadership.ts';
const REPLICA = 'src/shard/replica/replica.ts';
const LOST_LOG = 'src/shard/meta/lost-log.ts';
const DRIVER = 'src/node/replica-driver.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'prevHash ignored',
    why: 'an entry sent behind one that got lost runs where it lands, and its commands are sent again',
    edits: [
      {
        file: LEADERSHIP,
        find: 'const follows = equalBytes(prevHash, state.hash);',
        replace: 'const follows = equalBytes(prevHash, prevHash);',
      },
    ],
    hunt: 'lost-appends',
    firstSeed: 14,
    withinSeeds: 60,
  },
  {
    name: 'epoch check dropped',
    why: 'a leader that was replaced goes on, its entries have effect, and two answer reads by their leases',
    edits: [
      {
        file: LEADERSHIP,
        find: "return follows && epoch === state.epoch && leader === state.leader ? 'effective' : 'void';",
        replace: "return follows ? 'effective' : 'void';",
      },
      {
        file: REPLICA,
        find: "      this.#depose('another replica has claimed the leadership');\n",
        replace: '',
      },
    ],
    hunt: 'stale-reads',
    firstSeed: 3,
    withinSeeds: 60,
  },
  {
    name: 'leader counts on more than its lease',
    why: 'the others wait for less, and one of them leads while it still answers by its lease',
    edits: [{ file: REPLICA, find: 'own.sentMs + leaseMs * (1 - drift)', replace: 'own.sentMs + leaseMs * 1.7' }],
    hunt: 'stale-reads',
    firstSeed: 7,
    withinSeeds: 60,
  },
  {
    name: 'challenger does not wait',
    why: 'it leads while the lease of another runs',
    edits: [
      { file: 'src/shard/replica/patience.ts', find: '(isVacant ? 0 : leaseMs * (1 + drift))', replace: '(isVacant ? 0 : leaseMs / 3)' },
    ],
    hunt: 'stale-reads',
    firstSeed: 7,
    withinSeeds: 60,
  },
  {
    name: 'barrier skipped',
    why: 'what was sent may still arrive after it has been sent again',
    edits: [
      {
        file: REPLICA,
        find: "      reign.footing = 'barrier';\n      reign.barrierSerial = this.#send(now, [], []);\n",
        replace: "      reign.footing = 'certain';\n      this.#takeBack(this.#pipeline.takeAll());\n",
      },
    ],
    hunt: 'lost-appends',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'unknown told as failed',
    why: 'its client asks again, and the first attempt has an effect too',
    edits: [
      {
        file: REPLICA,
        find: "    proposal.fate = 'unknown';\n",
        replace: "    proposal.fate = 'unknown';\n    failSent([proposal], this.#notLeader('lost'), this.#notLeader('lost'));\n",
      },
    ],
    hunt: 'lost-appends',
    firstSeed: 25,
    withinSeeds: 60,
  },
  {
    name: 'conflict taken for certain',
    why: 'the same append can arrive twice, and only the answer to the second come back',
    edits: [
      {
        file: REPLICA,
        find: "    proposal.fate = 'unknown';\n",
        replace: "    proposal.fate = 'unknown';\n    this.#pipeline.remove(proposal);\n    this.#takeBack([proposal]);\n",
      },
    ],
    hunt: 'lost-appends',
    firstSeed: 3,
    withinSeeds: 60,
  },
  {
    name: 'number of the entry not in its batch',
    why: 'after a crash entries run twice',
    edits: [
      {
        file: 'src/shard/shard-machine.ts',
        find: '    this.#storage.put(this.#stateKey, encodeShardState(state));\n    this.#open = false;\n',
        replace: '    if (state.applied % 3 !== 0) this.#storage.put(this.#stateKey, encodeShardState(state));\n    this.#open = false;\n',
      },
    ],
    hunt: 'disasters',
    firstSeed: 2,
    withinSeeds: 60,
  },
  {
    name: 'snapshot and entries without contiguity check',
    why: 'a log that begins later than was asked for leaves entries out without a word',
    edits: [
      { file: REPLICA, find: '      if (seq > applied + 1) {\n', replace: '      if (seq > applied + 1_000_000) {\n' },
      {
        file: 'src/shard/shard-machine.ts',
        find: 'if (seq !== before.applied + 1) return',
        replace: 'if (seq <= before.applied) return',
      },
    ],
    hunt: 'snapshots',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'lease kept while resigning',
    why: 'anybody may lead once the resignation is in the log, which its leader need not have heard',
    edits: [
      {
        file: REPLICA,
        find: '    if (!reign || reign.resigning) failRead(pending,',
        replace: '    if (!reign) failRead(pending,',
      },
      {
        file: REPLICA,
        find: '    this.#reign.resigning = true;\n    this.#leaseUntilMs = Number.NEGATIVE_INFINITY;\n',
        replace: '    this.#reign.resigning = true;\n',
      },
    ],
    hunt: 'stale-reads',
    firstSeed: 68,
    withinSeeds: 60,
  },
  {
    name: 'barrier read answered when sent',
    why: 'who leads no more and does not know it answers from its own past',
    edits: [
      {
        file: REPLICA,
        find: '      this.#send(now, commands, reads);\n',
        replace: '      this.#send(now, commands, []);\n      for (const read of reads) this.#answer(read, now, undefined);\n',
      },
    ],
    hunt: 'stale-reads',
    firstSeed: 6,
    withinSeeds: 60,
  },
  {
    name: 'lease counted from when its entry was run',
    why: 'the others count from when they ran it, which may have been long before',
    edits: [{ file: REPLICA, find: 'own.sentMs + leaseMs * (1 - drift)', replace: 'now.monoMs + leaseMs * (1 - drift)' }],
    hunt: 'stale-reads',
    firstSeed: 138,
    withinSeeds: 60,
  },
  {
    name: 'lease looked at by the clock of the last tick',
    why: 'a process that stood still answers, when it goes on, as if no time had passed',
    edits: [
      {
        file: DRIVER,
        find: 'if (this.#clock.now().monoMs < leaseUntilMs) read',
        replace: 'if (tickMsOf.get(this)! < leaseUntilMs) read',
      },
      {
        file: DRIVER,
        find: 'else this.replica.ask(read, mode, this.#clock.now(), untilMs);',
        replace: 'else this.replica.ask(read, mode, { monoMs: tickMsOf.get(this)!, wallMs: 0 });',
      },
      {
        file: DRIVER,
        find: '  #armTick(): void {\n',
        replace: '  #armTick(): void {\n    tickMsOf.set(this, this.#clock.now().monoMs);\n',
      },
      {
        file: DRIVER,
        find: 'const READ_BATCH = 64;\n',
        replace: 'const READ_BATCH = 64;\nconst tickMsOf = new WeakMap<object, number>();\n',
      },
    ],
    hunt: 'stale-reads',
    firstSeed: 5,
    withinSeeds: 60,
  },
  {
    name: 'own entry known by its number alone',
    why: 'the leader runs what it sent where another entry stands',
    edits: [
      {
        file: 'src/shard/replica/pipeline.ts',
        find: 'one.seq === seq && equalBytes(one.bytes, bytes)',
        replace: 'one.seq === seq && bytes.length > 0',
      },
    ],
    hunt: 'lost-appends',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'session not looked at',
    why: 'a request that comes twice runs twice',
    edits: [
      {
        file: 'src/shard/shard-machine.ts',
        find: '      if (known) return told(known);\n',
        replace: '',
      },
    ],
    hunt: 'disasters',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'expired session runs again',
    why: 'what was run and forgotten is run once more when it comes late',
    edits: [
      {
        file: 'src/shard/sessions.ts',
        find: 'if (issuedMs !== undefined && issuedMs < expiredBeforeMs) {',
        replace: 'if (issuedMs !== undefined && issuedMs < 0) {',
      },
    ],
    hunt: 'disasters',
    firstSeed: 7,
    withinSeeds: 60,
  },
  {
    name: 'snapshot without sessions',
    why: 'whoever takes it runs again what was run before it',
    edits: [
      {
        file: 'src/shard/replica/shard-data.ts',
        find: ', sessionRange(keyspaceId, range)];',
        replace: '].filter(() => sessionRange(keyspaceId, range) !== undefined);',
      },
    ],
    hunt: 'snapshots',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'half a snapshot taken for whole',
    why: 'who dies while it is installed comes back with the rest missing',
    edits: [
      {
        file: 'src/shard/replica/snapshot.ts',
        find: "encodeShardState({ ...this.#state, status: 'faulted' })",
        replace: 'encodeShardState(this.#state)',
      },
    ],
    hunt: 'snapshots',
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'answered before it is durable',
    why: 'a log that is lost with all processes takes with it what clients were told',
    edits: [
      { file: 'src/shard/replica/acks.ts', find: "if (ack === 'log') sink.settled", replace: "if (ack !== 'log+quorum') sink.settled" },
    ],
    hunt: 'disasters',
    firstSeed: 6,
    withinSeeds: 60,
  },
  {
    name: 'a follower leaves commands out',
    why: 'it has run the same entries as the others, and does not have what they have: comparing digests shows it',
    edits: [
      {
        file: REPLICA,
        find: 'applied = this.#machine.applyEntry(entry, seq, bytes, own?.hash);',
        replace:
          'const left = !own && seq % 20 === 0 && entry.commands.every((one) => one.kind === "command");\n' +
          '      applied = this.#machine.applyEntry(left ? { ...entry, commands: [] } : entry, seq, bytes, own?.hash);',
      },
    ],
    hunt: 'nothing',
    firstSeed: 2,
    withinSeeds: 60,
    foundAs: /most replicas have something else than this one/,
  },
];

/** Bugs of splits, merges, moves and lost logs, which need a whole cluster. */
export const CLUSTER_MUTANTS: readonly Mutant[] = [
  {
    name: 'sessions not moved with a split',
    why: 'the child runs again what its parent had run',
    edits: [
      {
        file: 'src/shard/shard-machine.ts',
        find: 'this.#sessions = new Sessions({ storage, keyspaceId,',
        replace: 'this.#sessions = new Sessions({ storage, keyspaceId: keyspaceId + (state.phase === "born" ? 1_000 : 0),',
      },
    ],
    hunt: 'cluster',
    firstSeed: 6,
    withinSeeds: 60,
  },
  {
    name: 'a merge loses the sessions of its right shard',
    why: 'the left one runs again what the right one had run',
    edits: [
      {
        file: 'src/shard/shard-control.ts',
        find: '  state.nowMs = Math.max(state.nowMs, right.nowMs);\n',
        replace:
          '  state.nowMs = Math.max(state.nowMs, right.nowMs);\n' +
          '  for (const { key } of [1, 2, 3, 4, 5].flatMap((one) => [...storage.scan(sessionRange(one, right.range))])) storage.delete(key);\n',
      },
      {
        file: 'src/shard/shard-control.ts',
        find: "import { stateKey } from './key-layout.ts';",
        replace: "import { sessionRange, stateKey } from './key-layout.ts';",
      },
    ],
    hunt: 'workflows',
    firstSeed: 6,
    withinSeeds: 60,
  },
  {
    name: 'a parent goes on behind the cut',
    why: "what it runs for keys of its child is nobody's",
    edits: [
      {
        file: 'src/shard/shard-machine.ts',
        find: "this.#to = status === 'serving' ? range.to : range.from;",
        replace: "this.#to = status === 'serving' ? Math.max(range.to, this.#to ?? 0) : range.from;",
      },
    ],
    hunt: 'cluster',
    firstSeed: 6,
    withinSeeds: 60,
  },
  {
    name: 'a move is done before its node has caught up',
    why: 'the node that had the data gives them away, and who is to have them does not yet',
    edits: [
      {
        file: 'src/shard/meta/workflow-step.ts',
        find: 'return report?.joins === op && report.isCaughtUp;',
        replace: 'return report !== undefined || sight.isLive(node);',
      },
    ],
    hunt: 'cluster',
    firstSeed: 18,
    withinSeeds: 60,
  },
  {
    name: 'what moved away is removed with what is here',
    why: 'a shard came back under another number, and its records go',
    edits: [
      {
        file: 'src/node/cluster/removed-shards.ts',
        find: 'for (const { from, to } of without(range, sameTable)) {',
        replace: 'for (const { from, to } of sameTable.length < 0 ? [] : [range]) {',
      },
    ],
    hunt: 'cluster',
    firstSeed: 5,
    withinSeeds: 60,
  },
  {
    name: 'the next log begins behind what the least advanced replica has',
    why: 'what was acknowledged and only others have is lost with the old log',
    edits: [{ file: LOST_LOG, find: 'return one.seq > other.seq || (', replace: 'return one.seq < other.seq || (' }],
    hunt: 'lost-logs',
    firstSeed: 4,
    withinSeeds: 60,
  },
];
