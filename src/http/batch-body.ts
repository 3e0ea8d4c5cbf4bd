import type { Bytes } from '../base/bytes.ts';
import { KeyfleetError, messageOf } from '../base/errors.ts';
import { viewOf } from './json-bytes.ts';

/** How a batch is written, in both directions. */
export type BatchForm = 'json' | 'ndjson';

/**
 * The form that a content type names. Only these two are taken, and neither is among those that a web page may send to another site
 * unasked: that is what keeps a page from writing into the store of whoever visits it.
 * @throws KF_MEDIA_TYPE.
 */
export function formOf(contentType: string | undefined): BatchForm {
  const mediaType = (contentType ?? '').split(';')[0]!.trim().toLowerCase();
  if (mediaType === 'application/json') return 'json';
  if (mediaType === 'application/x-ndjson' || mediaType === 'application/ndjson' || mediaType === 'application/jsonl') return 'ndjson';
  throw new KeyfleetError(
    'KF_MEDIA_TYPE',
    `a batch has content type application/json or application/x-ndjson, not ${JSON.stringify(mediaType)}`,
  );
}

/**
 * Every item of a batch, read by `read`: those of the array `field` of a JSON object, or one per line (empty lines do not count).
 * @throws KF_BAD_RECORD naming the item or line; nothing has been done by then.
 */
export function readBatch<T>(body: Bytes, form: BatchForm, field: string, read: (json: unknown) => T): T[] {
  const at = (where: string, error: unknown): KeyfleetError => new KeyfleetError('KF_BAD_RECORD', `${where}: ${messageOf(error)}`);
  if (form === 'json') {
    const items = arrayOf(body, field);
    return items.map((item, index) => {
      try {
        return read(item);
      } catch (error) {
        throw at(`${field}[${index}]`, error);
      }
    });
  }
  const items: T[] = [];
  let line = 0;
  for (const bytes of linesOf(body)) {
    line++;
    try {
      const text = utf8Of(bytes);
      if (text.trim() !== '') items.push(read(JSON.parse(text)));
    } catch (error) {
      throw at(`line ${line}`, error);
    }
  }
  return items;
}

function arrayOf(body: Bytes, field: string): unknown[] {
  let json: unknown;
  try {
    json = JSON.parse(utf8Of(body));
  } catch (error) {
    throw new KeyfleetError('KF_BAD_RECORD', `the body is not JSON: ${messageOf(error)}`);
  }
  const items = (json as Readonly<Record<string, unknown>> | null)?.[field];
  if (!Array.isArray(items))
    throw new KeyfleetError('KF_BAD_RECORD', `the body must be a JSON object with an array ${JSON.stringify(field)}`);
  return items;
}

function* linesOf(body: Bytes): IterableIterator<Bytes> {
  const bytes = viewOf(body);
  for (let from = 0; from < bytes.length; ) {
    const feed = bytes.indexOf(0x0a, from);
    const to = feed < 0 ? bytes.length : feed;
    yield bytes.subarray(from, to);
    from = to + 1;
  }
}

const strict = new TextDecoder('utf-8', { fatal: true });

function utf8Of(bytes: Bytes): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw new KeyfleetError('KF_BAD_RECORD', 'not UTF-8; write other bytes in base64, as "key64" and "value64"');
  }
}
