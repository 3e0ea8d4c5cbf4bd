/** The Redis whose commands, replies and error texts we answer with; clients choose their features by it. */
export const REDIS_VERSION = '7.0.15';
