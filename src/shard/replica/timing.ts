/** The times that a replica keeps, in milliseconds of its own clock, which may be wrong by {@link ReplicaTiming.drift}. */
export interface ReplicaTiming {
  /** How long a leadership lasts beyond the last entry of its leader. A leader counts on less of it, a challenger waits for more. */
  readonly leaseMs: number;
  /** How much faster or slower than real time a clock may run, as a share. */
  readonly drift: number;
  /** A leader that has nothing to say appends an empty entry after this time. */
  readonly renewMs: number;
  /** Between the claims of replicas that all have waited long enough; each waits its rank times this. */
  readonly claimStaggerMs: number;
  /** An append without an answer for so long has an unknown outcome. */
  readonly appendTimeoutMs: number;
  /** A request that has no answer after this time is told that it has none. */
  readonly requestTimeoutMs: number;
  /** How often a replica looks for entries that nobody told it of, and what else is due. */
  readonly tickMs: number;
  /** How often replicas say how far they are, and the leader forgets what all have. */
  readonly reportMs: number;
  /** A replica silent for so long no longer keeps the log from forgetting. */
  readonly lostMs: number;
}

export const DEFAULT_TIMING: ReplicaTiming = {
  leaseMs: 3_000,
  drift: 0.1,
  renewMs: 1_000,
  claimStaggerMs: 150,
  appendTimeoutMs: 2_000,
  requestTimeoutMs: 5_000,
  tickMs: 250,
  reportMs: 2_000,
  lostMs: 60_000,
};

export interface ReplicaLimits {
  /** Entries that may be on their way to the log at a time. */
  readonly maxInFlight: number;
  /** An entry takes commands until they have so many bytes. */
  readonly maxEntryBytes: number;
  /** Commands that may wait for a place in an entry. */
  readonly maxQueued: number;
  /** Entries that the log keeps behind what all replicas have. */
  readonly keptEntries: number;
  /** So many entries after the last time, replicas compare a stretch of what they have; or after eight times as many commands. */
  readonly digestEvery: number;
  /** A command with its key may have so many: what the log takes in one entry, less what stands around it. */
  readonly maxCommandBytes: number;
}

export const DEFAULT_LIMITS: ReplicaLimits = {
  maxInFlight: 8,
  maxEntryBytes: 256 * 1024,
  maxQueued: 65_536,
  keptEntries: 10_000,
  digestEvery: 1_000,
  maxCommandBytes: Number.POSITIVE_INFINITY,
};
