/** keyfleet/volume: a master and volume servers that keep values as files, in your own process. */
export { Master, type MasterStats } from './master.ts';
export { MasterClient } from './master-client.ts';
export { type MasterServer, type MasterServerOptions, startMasterServer } from './master-server.ts';
export type { MoveLimits, MoveProgress } from './mover.ts';
export { type VerifyEvent, verify } from './verify.ts';
export { VolumeClient } from './volume-client.ts';
export { startVolumeServer, type VolumeServer, type VolumeServerOptions } from './volume-server.ts';
