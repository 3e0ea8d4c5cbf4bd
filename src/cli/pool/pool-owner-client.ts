import { type ErrorCode, KeyfleetError, messageOf } from '../../base/errors.ts';
import { readPassword } from '../client/server-client.ts';

/** Which owner of a pool to ask, as the flags say. */
export interface OwnerFlags {
  readonly url: string;
  readonly passwordFile?: string;
}

export const OWNER_URL = 'http://127.0.0.1:22223';

/** Asks the owner of a pool; with a body it is a POST. @throws KF_UNREACHABLE, KF_USAGE, and the owner's own errors by their codes. */
export async function askOwner<T = object>(flags: OwnerFlags, path: string, body?: object): Promise<T> {
  const headers: Record<string, string> =
    flags.passwordFile === undefined ? {} : { authorization: `Bearer ${readPassword(flags.passwordFile)}` };
  let url: URL;
  try {
    url = new URL(`/v1/${path}`, flags.url);
  } catch {
    throw new KeyfleetError('KF_USAGE', `--url: ${JSON.stringify(flags.url)} is no URL; one looks like ${OWNER_URL}`);
  }
  let answer: T & { readonly error?: { readonly code: ErrorCode; readonly message: string } };
  try {
    const response = await fetch(url, body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) });
    answer = (await response.json()) as typeof answer;
  } catch (error) {
    throw new KeyfleetError(
      'KF_UNREACHABLE',
      `no owner of a pool answers at ${flags.url}: ${messageOf((error as Error).cause ?? error)}; is \`keyfleet pool owner\` running?`,
    );
  }
  if (answer.error) throw new KeyfleetError(answer.error.code, answer.error.message);
  return answer;
}
