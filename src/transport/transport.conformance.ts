import { afterEach, describe, expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import { ANYONE, type Transport, type TransportLimits } from './transport.ts';

/** What every transport promises. `join` gives the end of a node of this name; all of one test are in one network. */
export function transportConformance(
  name: string,
  makeNetwork: () => Promise<(self: string, limits?: Partial<TransportLimits>) => Transport>,
): void {
  describe(`the transport between nodes: ${name}`, () => {
    const open: Transport[] = [];
    const network = async (): Promise<(self: string, limits?: Partial<TransportLimits>) => Transport> => {
      const join = await makeNetwork();
      return (self, limits) => {
        const end = join(self, limits);
        open.push(end);
        return end;
      };
    };
    afterEach(async () => {
      await Promise.all(open.splice(0).map((end) => end.close()));
    });

    test('carries a request and its answer, and says who asks what', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await b.serve(({ from, method, payload }) => utf8(`${method} of ${from}: ${fromUtf8(payload)}`));
      expect(fromUtf8(await a.request('b', 'greet', utf8('hello')))).toBe('greet of a: hello');
      expect(fromUtf8(await a.request('b', 'empty', new Uint8Array(0)))).toBe('empty of a: ');
      expect(fromUtf8(await b.request('b', 'self', utf8('me')))).toBe('self of b: me');
    });

    test('asks anyone who listens', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await b.serve(({ from }) => utf8(`b heard ${from}`));
      expect(fromUtf8(await a.request(ANYONE, 'who', new Uint8Array(0)))).toBe('b heard a');
    });

    test('matches answers with requests, whatever order they come in', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await b.serve(async ({ payload }) => {
        await new Promise((resolve) => setTimeout(resolve, 20 - payload[0]!));
        return payload;
      });
      const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => a.request('b', 'x', Uint8Array.of(i))));
      expect(answers.map((answer) => answer[0])).toEqual(Array.from({ length: 20 }, (_, i) => i));
    });

    test('carries the largest payload whole, and refuses a larger one before it is sent', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      const asked: number[] = [];
      await b.serve(({ payload }) => {
        asked.push(payload.length);
        return payload.slice(0, 1);
      });
      const largest = new Uint8Array(a.maxPayloadBytes).fill(9);
      expect(await a.request('b', 'm'.repeat(255), largest)).toEqual(Uint8Array.of(9));
      await expect(a.request('b', 'x', new Uint8Array(largest.length + 1))).rejects.toMatchObject({ code: 'KF_MESSAGE_TOO_LARGE' });
      expect(() => a.send('b', 'x', new Uint8Array(largest.length + 1))).toThrow('limit');
      expect(asked).toEqual([largest.length]);
    });

    test("gives the other's error with its code, and a fault of its as KF_INTERNAL", async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await b.serve(({ method }) => {
        if (method === 'coded') throw new KeyfleetError('KF_KEY_NOT_FOUND', 'no such key', { retryable: true });
        throw new TypeError('a fault');
      });
      await expect(a.request('b', 'coded', utf8(''))).rejects.toMatchObject({
        code: 'KF_KEY_NOT_FOUND',
        message: 'no such key',
        retryable: true,
      });
      await expect(a.request('b', 'fault', utf8(''))).rejects.toMatchObject({ code: 'KF_INTERNAL' });
    });

    test('tells apart who was not asked and who did not answer', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await expect(a.request('nobody', 'x', utf8(''))).rejects.toMatchObject({ code: 'KF_NODE_UNREACHABLE', retryable: true });
      await expect(a.request('b', 'x', utf8(''))).rejects.toMatchObject({ code: 'KF_NODE_UNREACHABLE' });
      await b.serve(() => new Promise(() => {}));
      await expect(a.request('b', 'x', utf8(''), { timeoutMs: 50 })).rejects.toMatchObject({ code: 'KF_NODE_SILENT', retryable: false });
    });

    test('takes messages, which nobody answers', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      let hear: (told: string) => void = () => {};
      const heard = new Promise<string>((resolve) => {
        hear = resolve;
      });
      await b.serve(({ from, method, payload, timeoutMs }) => {
        hear(`${from} ${method} ${fromUtf8(payload)} ${timeoutMs}`);
        throw new Error('of no interest');
      });
      // It may be lost, so it is told until it is heard.
      const again = setInterval(() => a.send('b', 'note', utf8('news')), 5);
      expect(await heard).toBe('a note news 0');
      clearInterval(again);
    });

    test('refuses what is too much at once, on either side, and goes on afterwards', async () => {
      const join = await network();
      const [a, b, c] = [join('a', { maxWaiting: 2 }), join('b', { maxServing: 1 }), join('c')];
      const release: (() => void)[] = [];
      await b.serve(async ({ payload }) => {
        await new Promise<void>((resolve) => release.push(resolve));
        return payload;
      });
      const first = c.request('b', 'x', utf8('first'));
      while (release.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      await expect(c.request('b', 'x', utf8('second'))).rejects.toMatchObject({ code: 'KF_BUSY', retryable: true });
      await c.serve(() => new Promise(() => {}));
      const waiting = [1, 2].map(() => a.request('c', 'x', utf8(''), { timeoutMs: 200 }).catch((error: KeyfleetError) => error.code));
      await expect(a.request('c', 'x', utf8(''))).rejects.toMatchObject({ code: 'KF_BUSY' });
      release[0]!();
      expect(fromUtf8(await first)).toBe('first');
      expect(await Promise.all(waiting)).toEqual(['KF_NODE_SILENT', 'KF_NODE_SILENT']);
      await c.serve(({ payload }) => payload);
      expect(fromUtf8(await a.request('c', 'x', utf8('again')))).toBe('again');
    });

    test('bounds the bytes that wait, but for a single request', async () => {
      const join = await network();
      const [a, b] = [join('a', { maxWaitingBytes: 1_000 }), join('b')];
      await b.serve(({ payload }) => payload);
      const [one, other] = await Promise.allSettled([a.request('b', 'x', new Uint8Array(2_000)), a.request('b', 'x', new Uint8Array(1))]);
      expect([one!.status, other!.status]).toEqual(['fulfilled', 'rejected']);
    });

    test('once closed it asks nobody, and whoever waits hears so', async () => {
      const join = await network();
      const [a, b] = [join('a'), join('b')];
      await b.serve(() => new Promise(() => {}));
      const waiting = a.request('b', 'x', utf8(''));
      const refused = expect(waiting).rejects.toMatchObject({ code: 'KF_CLOSED' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      await a.close();
      await refused;
      await expect(a.request('b', 'x', utf8(''))).rejects.toMatchObject({ code: 'KF_CLOSED' });
      await b.close();
      await expect(join('c').request('b', 'x', utf8(''))).rejects.toMatchObject({ code: 'KF_NODE_UNREACHABLE' });
    });

    test('refuses a name that is none', async () => {
      const join = await network();
      expect(() => join('a.b')).toThrow('cannot be called');
    });
  });
}
