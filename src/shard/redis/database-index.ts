import type { Bytes } from '../../base/bytes.ts';
import { NOT_AN_INT32, NOT_AN_INTEGER } from './error-replies.ts';
import { parseInteger } from './integer.ts';
import { errorReply, type TaggedReply } from './reply.ts';

const INT32_MAX = 0x7fff_ffff;
const INT32_MIN = -0x8000_0000;
const NO_SUCH_DATABASE = errorReply('ERR DB index is out of range');

/** Why SELECT and COPY refuse a database; undefined for 0, the only one there is. */
export function refusalOfDatabase(text: Bytes): TaggedReply | undefined {
  const database = parseInteger(text);
  if (database === undefined) return NOT_AN_INTEGER;
  if (database > INT32_MAX || database < INT32_MIN) return NOT_AN_INT32;
  return database === 0 ? undefined : NO_SUCH_DATABASE;
}
