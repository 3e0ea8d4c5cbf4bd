import { expect, test } from 'vitest';
import { inPlace } from '../shard/in-place-codec.ts';
import { createRedisModule } from '../shard/redis/redis-module.ts';
import { DEFAULT_MAX_VALUE_BYTES } from '../shard/shard-machine-options.ts';
import { DEFAULT_RESP_SETTINGS } from './settings.ts';

test('the longest string that the door takes may be stored, and read again', () => {
  const longest = new Uint8Array(DEFAULT_RESP_SETTINGS['proto-max-bulk-len']);
  expect(inPlace(createRedisModule().codec).size(longest)).toBeLessThanOrEqual(DEFAULT_MAX_VALUE_BYTES);
  expect(DEFAULT_RESP_SETTINGS['client-output-hard-bytes']).toBeGreaterThan(longest.length);
});
