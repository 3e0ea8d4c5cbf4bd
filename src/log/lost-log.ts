import { KeyfleetError } from '../base/errors.ts';
import type { AppendOutcome, LogRecord } from './log.ts';
import type { ClusterLog } from './shard-logs.ts';

/** Stands in for a log that is lost: it takes nothing and has nothing. */
export class LostLog implements ClusterLog {
  readonly id = '';
  readonly basis = undefined;
  readonly maxEntryBytes = 1024 * 1024;

  async append(): Promise<AppendOutcome> {
    return { kind: 'unknown' };
  }

  async *read(): AsyncIterableIterator<LogRecord> {
    yield lost();
  }

  async truncate(): Promise<void> {}

  async lastSeq(): Promise<number> {
    return 0;
  }

  onGrew(): () => void {
    return () => {};
  }

  async close(): Promise<void> {}
}

function lost(): never {
  throw new KeyfleetError('KF_LOG_LOST', 'the log is lost');
}
