/** The version of Redis that clients are told: the one whose commands the built-in table is made of. */
export const REDIS_SHOWN_VERSION = '7.0.15';
