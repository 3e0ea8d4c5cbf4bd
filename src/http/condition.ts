import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError } from '../base/errors.ts';
import type { Condition } from './http-store.ts';

/** The entity tag of a value, without quotes: the first half of its SHA-256, so equal values have equal tags. */
export function etagOf(value: Bytes): string {
  return createHash('sha256').update(value).digest('hex').slice(0, 32);
}

/** The conditions of a request's headers. @throws KF_BAD_REQUEST when one is not a list of entity tags. */
export function conditionOf(headers: Pick<IncomingHttpHeaders, 'if-match' | 'if-none-match'>): Condition {
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  return {
    // If-Match compares strongly, and a weak tag never does (RFC 9110 §8.8.3.2); If-None-Match compares weakly.
    ...(ifMatch === undefined ? {} : { ifMatch: tagsOf('If-Match', ifMatch, (tag) => (tag.weak ? [] : [tag.tag])) }),
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch: tagsOf('If-None-Match', ifNoneMatch, (tag) => [tag.tag]) }),
  };
}

function tagsOf(
  header: string,
  text: string,
  keep: (tag: { readonly tag: string; readonly weak: boolean }) => readonly string[],
): '*' | readonly string[] {
  if (text.trim() === '*') return '*';
  // Empty elements of a list do not count (RFC 9110 §5.6.1.2), but there must be one that is not.
  let end = text.length;
  while (end > 0 && /[\s,]/.test(text[end - 1]!)) end--;
  const list = text.slice(0, end);
  const item = /[\s,]*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(,|$)/y;
  const tags: string[] = [];
  do {
    const match = item.exec(list);
    if (!match) throw new KeyfleetError('KF_BAD_REQUEST', `${header} must be * or entity tags in quotes, not ${JSON.stringify(text)}`);
    tags.push(...keep({ tag: match[2]!, weak: match[1] !== undefined }));
  } while (item.lastIndex < list.length);
  return tags;
}

/** Whether `condition` lets a read answer "not modified". */
export function isUnchanged(condition: Condition, etag: string): boolean {
  return condition.ifNoneMatch === '*' || (condition.ifNoneMatch?.includes(etag) ?? false);
}

/** Whether a read's If-Match refuses this value (undefined: no value). */
export function refusesMatch(condition: Condition, etag: string | undefined): boolean {
  if (condition.ifMatch === undefined) return false;
  return etag === undefined || (condition.ifMatch !== '*' && !condition.ifMatch.includes(etag));
}
