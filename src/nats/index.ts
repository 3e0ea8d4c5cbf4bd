// `keyfleet/nats`: what runs a store on NATS JetStream.

export { connectNats, type NatsAddress } from './connect.ts';
export { JetStreamLog, type JetStreamLogOptions, jetStreamLog } from './jetstream-log.ts';
export { type JetStreamLogsOptions, jetStreamLogs } from './jetstream-logs.ts';
export { type NatsTransportOptions, natsTransport } from './nats-transport.ts';
export { checkNatsServers, isOlder, natsRisks, OLDEST_SAFE_SERVER, type ServerCheckOptions } from './server-check.ts';
export { checkStream, type LogStream, streamConfig } from './stream-config.ts';
export { WatchedLog, type WatchOptions } from './watched-log.ts';
