/**
 * keyfleet: which node owns this key, which replicas hold it, what must move when the nodes change.
 * Pure: no dependency, no clock, no I/O; runs in Node and in browsers.
 */
export { isKeyfleetError, KeyfleetError } from '../base/errors.ts';
export type { Hasher, KeyInput } from './hasher.ts';
