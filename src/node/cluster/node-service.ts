import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import type { Handler } from '../../transport/transport.ts';
import type { SnapshotSource } from '../snapshot-transfer.ts';
import type { CallServer } from './call-server.ts';
import { CALLS } from './forwarder.ts';
import { HEARTBEAT, type Heartbeat } from './heartbeat.ts';
import { CHANGED, type KeyWatches, WATCH } from './key-watches.ts';
import type { LargeAnswers } from './large-answers.ts';
import { MAP, type MapSource } from './map-source.ts';
import { META_LOG, type MetaLogRecovery } from './meta-log-recovery.ts';
import type { MetaView } from './meta-view.ts';
import {
  CLAIM,
  decodeReport,
  decodeShard,
  decodeSnapshotRequest,
  encodeSnapshotAnswer,
  MEMBERS,
  REPORT,
  SNAPSHOT,
  URGE,
} from './node-messages.ts';
import { RANGE, type RangeSource } from './range-transfer.ts';
import { encodeJson } from './reports.ts';
import type { ShardHost } from './shard-host.ts';
import { PING, type WorkForOthers } from './vigil.ts';

/** What answers other nodes, and clients. */
export interface NodeServiceParts {
  readonly nodeId: string;
  readonly calls: CallServer;
  readonly work: WorkForOthers;
  readonly host: ShardHost;
  readonly heartbeat: Heartbeat;
  readonly source: SnapshotSource;
  readonly ranges: RangeSource;
  readonly watches: KeyWatches;
  readonly large: LargeAnswers;
  readonly meta: MetaView;
  readonly metaLog: MetaLogRecovery;
  readonly maps: MapSource;
}

const NOTHING: Bytes = new Uint8Array(0);

/** Answers the requests of other nodes and of clients, each by the part that it is for. */
export function nodeService(parts: NodeServiceParts): Handler {
  const { nodeId, calls, work, host, heartbeat, source, ranges, watches, large, meta, metaLog, maps } = parts;
  return async ({ from, method, payload }) => {
    switch (method) {
      case CALLS:
        return large.wrap(await work.count(from, calls.serve(payload)));
      case REPORT: {
        const { shard, seq, isDurable, vote } = decodeReport(payload);
        const driver = host.get(shard)?.driver;
        if (isDurable) driver?.reported(from, seq, vote);
        else driver?.brought(from, seq);
        return NOTHING;
      }
      case SNAPSHOT:
        return large.wrap(encodeSnapshotAnswer(source.answer(from, decodeSnapshotRequest(payload))));
      case RANGE:
        return large.wrap(await ranges.answer(from, payload));
      case WATCH:
        return watches.asked(from, payload);
      case CHANGED:
        watches.heard(payload);
        return NOTHING;
      case HEARTBEAT:
        return large.wrap(heartbeat.heard(payload));
      case CLAIM:
        host.get(decodeShard(payload))?.driver?.claimSoon();
        return NOTHING;
      case URGE:
        host.get(decodeShard(payload))?.driver?.urged();
        return NOTHING;
      case PING:
        return work.pong(from);
      case META_LOG:
        return large.wrap(await metaLog.heard(payload));
      case MAP:
        return large.wrap(maps.answer(payload));
      case MEMBERS:
        return large.wrap(encodeJson(meta.cluster.nodes.filter(({ status }) => status !== 'left').map(({ id }) => id)));
      default: {
        const piece = large.piece(method, payload);
        if (piece) return piece;
        throw new KeyfleetError('KF_NODE_INCOMPATIBLE', `node ${nodeId} knows no ${method}`);
      }
    }
  };
}
