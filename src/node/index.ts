/**
 * keyfleet/store: a durable, partitioned key-value store in your own process. Each value is any data structure, changed by a command
 * function and read by a query function; `plainBytes` is the simplest.
 */
export type { Bytes } from '../base/bytes.ts';
export { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
export { type CounterCommand, counter, counterModule } from '../shard/counter.ts';
export { defineModule, type ModuleDefinition } from '../shard/define-module.ts';
export { type JsonCommand, type JsonQuery, json, jsonModule } from '../shard/json/json-module.ts';
export type { JsonPatchOperation } from '../shard/json/json-patch.ts';
export type { Json, JsonObject } from '../shard/json/json-value.ts';
export { messagePack } from '../shard/message-pack.ts';
export type { Workflow } from '../shard/meta/shard-map.ts';
export {
  type PlainAnswer,
  type PlainCommand,
  type PlainCondition,
  type PlainQuery,
  type PlainReply,
  plain,
  plainBytes,
} from '../shard/plain-bytes.ts';
export type { KeyspacePolicy } from '../shard/policy.ts';
export type { PositionSchemeName } from '../shard/position-scheme.ts';
export type { RequestId } from '../shard/request-id.ts';
export type {
  Cell,
  CellReader,
  Cells,
  CommandContext,
  CommandResult,
  ManyContext,
  ManyQueryContext,
  OpenRecord,
  QueryContext,
  ValueCodec,
  ValueModule,
} from '../shard/value-module.ts';
export { openStorage, type StorageOptions } from '../storage/lmdb.ts';
export { MemoryStorage } from '../storage/memory.ts';
export type { Durability, Storage, StorageStats } from '../storage/storage.ts';
export type { BackedUpKeyspace, BackupManifest, BackupPart } from './backup/backup-folder.ts';
export type { RestoredKeyspace, RestoreOptions, RestoreProgress } from './backup/restore-backup.ts';
export type { BackupOptions, BackupProgress } from './backup/take-backup.ts';
export { type VerifiedBackup, verifyBackup } from './backup/verify-backup.ts';
export { CALL_DEFAULTS, type CallOptions, type CommandOptions, type QueryOptions } from './call-options.ts';
export type { ClientHost, ClientHostOptions } from './client-host.ts';
export type { ClusterHost, ClusterHostOptions } from './cluster-host.ts';
export { type ClientStore, type ConnectClusterOptions, connectCluster } from './connect-cluster.ts';
export { type AllKeysOptions, type InRange, Keyspace, type KeyspaceOf } from './keyspace.ts';
export type {
  AskOptions,
  KeyspaceCounts,
  KeyspaceHandle,
  MaybePromise,
  ReadMode,
  ReplySink,
  ScannedPage,
  ScannedRecord,
  ScanOptions,
  ShardStats,
  SubmitOptions,
} from './keyspace-handle.ts';
export type { KeyspaceOptions } from './keyspace-options.ts';
export type { BegunWorkflow, KeyspaceWorkflows } from './keyspace-workflows.ts';
export type { AnsweredQuery, CommittedCommand, FencingToken, LeaderHook } from './leader-hook.ts';
export { loadModule } from './load-module.ts';
export { type ClusterStore, type OpenClusterOptions, openCluster } from './open-cluster.ts';
export { type OpenStoreOptions, openStore, type StoreLocation } from './open-store.ts';
export { Session, type SessionOptions } from './session.ts';
export { type KeyspaceDefinitions, type KeyspaceInfo, type Shard, Store } from './store.ts';
export type { ServedKeyspace, ServingHost, StoreHost, WorkflowControl } from './store-host.ts';
export type { NodeLimits } from './store-node.ts';
export type { KeyspaceStats, NodeStats, StoreStats } from './store-stats.ts';
