/** The bounds of what a proxy takes from its clients. Redis's names where it has them. */
export interface ProxyLimits {
  /** Requests of one client in flight; no more are read until answers have left. */
  pipelineRequests: number;
  /** Bytes waiting for a client from which on no more of its requests are started. */
  outputPauseBytes: number;
  /** Bytes waiting for a client from which on it is closed. */
  outputHardBytes: number;
  /** A client that takes nothing of what waits for it is closed after so long; 0: never. */
  outputStallMs: number;
  /** Bytes of a request that is not whole, or waits behind a blocking one, from which on the client is closed. */
  queryBytes: number;
  /** The longest argument. */
  bulkBytes: number;
  /** Commands queued in MULTI before its server is known. */
  queuedCommands: number;
}

export const PROXY_LIMITS: Readonly<ProxyLimits> = {
  pipelineRequests: 4_096,
  outputPauseBytes: 1024 * 1024,
  outputHardBytes: 256 * 1024 * 1024,
  outputStallMs: 60_000,
  queryBytes: 1024 * 1024 * 1024,
  bulkBytes: 512 * 1024 * 1024,
  queuedCommands: 1_024,
};
