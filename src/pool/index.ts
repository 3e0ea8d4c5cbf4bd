/**
 * keyfleet/pool: one keyspace over the Redis, KeyDB and Valkey servers there are. `createPool` routes and pipelines in your own process, over the
 * same file and with the same answers as twemproxy and `keyfleet pool`.
 */
export { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
export { BACKEND_LIMITS, type BackendLimits } from './backend-connection.ts';
export { BackendError } from './backend-error.ts';
export { Batch, type BatchResult } from './batch.ts';
export { createPool, type Pool, type PoolClient, type PoolEvents } from './client.ts';
export type { ClientMoves, MoverPort } from './client-moves.ts';
export type { PoolOptions } from './client-settings.ts';
export { type PoolAdmin, type PoolAdminOptions, startPoolAdmin } from './moves/move-admin.ts';
export type { MoveStatus } from './moves/move-status.ts';
export { type VerifyOptions, type VerifyReport, verifyPool } from './moves/move-verify.ts';
export type { Key, PoolCommands, Value } from './pool-commands.ts';
export {
  type BackendTls,
  DISTRIBUTIONS,
  type Distribution,
  type KeyRangeConfig,
  POOL_DEFAULTS,
  type PoolConfig,
  type PoolControl,
  type PoolServer,
  type PoolsFile,
  type ServerAddress,
} from './pool-config.ts';
export type { CallOptions } from './pool-core.ts';
export { PoolMap, type PoolMapJson, type SlotMove } from './pool-map.ts';
export { parsePoolsFile, readPoolsFile } from './pools-file.ts';
export { RedisReplyError, type ReplyValue } from './reply-value.ts';
export type { ScanOptions } from './scan-servers.ts';
export type { IoredisLike, NodeRedisLike, UserClient } from './server-link.ts';
export type { Subscription } from './subscription.ts';
