export { ReplyParser, readReply } from './codec/reply-parser.ts';
export { REPLY_BROKEN, REPLY_INCOMPLETE, REPLY_WHOLE, ReplyScanner } from './codec/reply-scanner.ts';
export { type BufferSource, ReplyWriter, type RespVersion } from './codec/reply-writer.ts';
export { BROKEN, NEED_MORE, REQUEST, REQUEST_LIMITS, type RequestLimits, RequestScanner } from './codec/request-scanner.ts';
export type { RedisKeyspace } from './door.ts';
export type { InfoSource, ShardInfo } from './info-source.ts';
export { DEFAULT_RESP_PORT, type RespServer, type RespServerOptions, startRespServer } from './server.ts';
export { DEFAULT_RESP_SETTINGS, type RespSettings } from './settings.ts';
export { LATENCY_BOUNDS_MICROS, RespStats } from './stats.ts';
