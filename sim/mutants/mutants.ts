// Bugs that the simulator must find: each an edit of the shipped source, made when the simulator is bundled. An edit whose text is no longer there,
// or is there twice, fails the test that runs them, so a mutant cannot quietly become none.

export interface Edit {
  /** From the root of the project. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  /** What goes wrong. */
  readonly why: string;
  readonly edits: readonly Edit[];
  /** Where to begin: near a seed that finds it, so that the test is quick. */
  readonly firstSeed: number;
  /** It is found in so many seeds from there on. */
  readonly withinSeeds: number;
}

const LEADERSHIP = 'src/shard/leadership.ts';
const REPLICA = 'src/shard/replica/replica.ts';

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
    firstSeed: 41,
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
    firstSeed: 1,
    withinSeeds: 60,
  },
  {
    name: 'leader counts on more than its lease',
    why: 'the others wait for less, and one of them leads while it still answers by its lease',
    edits: [{ file: REPLICA, find: 'own.sentMs + leaseMs * (1 - drift)', replace: 'own.sentMs + leaseMs * 1.7' }],
    firstSeed: 1053,
    withinSeeds: 60,
  },
  {
    name: 'challenger does not wait',
    why: 'it leads while the lease of another runs',
    edits: [{ file: REPLICA, find: '(vacant ? 0 : leaseMs * (1 + drift))', replace: '(vacant ? 0 : leaseMs / 3)' }],
    firstSeed: 9,
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
    firstSeed: 33,
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
    firstSeed: 1,
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
    firstSeed: 1,
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
    firstSeed: 1,
    withinSeeds: 60,
  },
];
