import { KeyfleetError } from '../../base/errors.ts';

/** The request went to a replica that does not lead its shard. It had no effect; ask `leader`, if there is one. */
export class NotLeaderError extends KeyfleetError {
  override readonly name = 'NotLeaderError';
  readonly shard: number;
  readonly leader: string | undefined;

  constructor(shard: number, leader: string | undefined, why: string) {
    super('KF_NOT_LEADER', `shard ${shard}: ${why}; ${leader ? `ask ${leader}` : 'it has no leader for now'}`, { retryable: true });
    this.shard = shard;
    this.leader = leader;
  }
}
