import { isKeyfleetError } from '../../base/errors.ts';

/** What the process says to its caller when it ends; docs/cli.md lists them for users. */
export const EXIT = {
  ok: 0,
  /** The work was understood and failed. */
  failed: 1,
  /** Wrong flags, wrong values, a wrong configuration file. */
  usage: 2,
  /** An address cannot be listened on. */
  listen: 3,
  /** The data directory cannot be used: locked, damaged, from a newer version. */
  data: 4,
  /** No server answers, or it refuses our password. */
  unreachable: 5,
  /** The input holds something that is not a record, or an interrupted import cannot be taken up again. */
  input: 6,
  /** Ended by Ctrl-C before the work was done. */
  interrupted: 130,
} as const;

const BY_CODE: Readonly<Record<string, number>> = {
  KF_USAGE: EXIT.usage,
  KF_CONFIG: EXIT.usage,
  KF_UNPROTECTED: EXIT.usage,
  KF_LISTEN_FAILED: EXIT.listen,
  KF_DATA_DAMAGED: EXIT.data,
  KF_FORMAT_TOO_NEW: EXIT.data,
  KF_KEYSPACE_MISMATCH: EXIT.data,
  KF_STORAGE_DAMAGED: EXIT.data,
  KF_STORAGE_FAILED: EXIT.data,
  KF_STORAGE_LOCKED: EXIT.data,
  KF_STORAGE_UNREADABLE: EXIT.data,
  KF_STORAGE_VERSION: EXIT.data,
  KF_VOLUME_UNUSABLE: EXIT.data,
  KF_REBUILD_UNFINISHED: EXIT.data,
  KF_WRONG_VOLUMES: EXIT.usage,
  KF_OTHER_FLEET: EXIT.usage,
  KF_VOLUME_NOT_EMPTY: EXIT.usage,
  KF_NOT_A_VOLUME: EXIT.usage,
  KF_VOLUME_UNAVAILABLE: EXIT.unreachable,
  KF_UNREACHABLE: EXIT.unreachable,
  KF_NATS_UNREACHABLE: EXIT.unreachable,
  KF_NATS_REFUSED: EXIT.unreachable,
  KF_NATS_UNSAFE: EXIT.usage,
  KF_NODE_ID_TAKEN: EXIT.usage,
  KF_OTHER_CLUSTER: EXIT.data,
  KF_UNAUTHORIZED: EXIT.unreachable,
  KF_NO_BACKUP: EXIT.input,
  KF_BACKUP_DAMAGED: EXIT.input,
  KF_BACKUP_UNFINISHED: EXIT.input,
  KF_BACKUP_EXISTS: EXIT.usage,
  KF_INTERRUPTED: EXIT.interrupted,
  KF_BAD_RECORD: EXIT.input,
  KF_CHECKPOINT: EXIT.input,
};

export function exitCodeOf(error: unknown): number {
  return (isKeyfleetError(error) ? BY_CODE[error.code] : undefined) ?? EXIT.failed;
}
