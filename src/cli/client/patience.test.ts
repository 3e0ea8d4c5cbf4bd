import { describe, expect, test, vi } from 'vitest';
import { KeyfleetError } from '../../base/errors.ts';
import { askPatiently } from './patience.ts';

const away = new KeyfleetError('KF_UNREACHABLE', 'nobody answers');

describe('asking patiently', () => {
  test('waits for who is started again, and says so once', async () => {
    const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    try {
      let asked = 0;
      const answer = await askPatiently(() => (++asked < 3 ? Promise.reject(away) : Promise.resolve('here')));
      expect([answer, asked]).toEqual(['here', 3]);
      expect(said.mock.calls.map(([text]) => text)).toEqual([expect.stringContaining('nobody answers')]);
    } finally {
      said.mockRestore();
    }
  });

  test('gives up when its time is over, and at once for any other error', async () => {
    const refused = new KeyfleetError('KF_USAGE', 'no');
    await expect(askPatiently(() => Promise.reject(away), -1)).rejects.toBe(away);
    await expect(askPatiently(() => Promise.reject(refused))).rejects.toBe(refused);
  });
});
