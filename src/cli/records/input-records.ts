import { parse as csvParser, type Parser } from 'csv-parse';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError, messageOf } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import { type KeyedRecord, recordOf } from '../../http/record-json.ts';

// The records of an input file, read as a stream, in the order they stand in it; what is not a record is told with its line number.

export type RecordFormat = 'ndjson' | 'tsv' | 'csv';

export interface InputOptions {
  readonly format: RecordFormat;
  /** The field or column that is the key; absent: records are in the plain form, {"key","value","ttlMs"} or columns of these names. */
  readonly keyField: string | undefined;
  /** The field or column that is the value; absent with a `keyField`: the whole record (NDJSON: the line's bytes as they are). */
  readonly valueField: string | undefined;
  /** TSV and CSV: the first line names the columns. Without it columns are numbered from 1. */
  readonly hasHeader: boolean;
}

export type InputItem =
  | { readonly line: number; readonly record: KeyedRecord }
  /** What is wrong with this line. */
  | { readonly line: number; readonly problem: string };

/** What one piece of the input holds. */
export interface InputPiece {
  readonly items: readonly InputItem[];
  /** How far the input has been read. */
  readonly readBytes: number;
}

/** A line longer than this is no record: the server would not take it. */
const MAX_LINE_BYTES = 512 * MIB;

/** Reads all records. @throws KF_BAD_RECORD when the input cannot be read on at all, KF_USAGE when it has no such column. */
export async function* readInput(input: AsyncIterable<Bytes>, options: InputOptions): AsyncGenerator<InputPiece> {
  if (options.format === 'csv') yield* readCsv(input, options);
  else if (options.format === 'tsv') yield* readLines(input, tsvReader(options));
  else yield* readLines(input, (line) => ndjsonRecord(line, options));
}

/** `read` gives the record of a line, undefined for a line that is none (a header, an empty line), or throws what is wrong with it. */
async function* readLines(input: AsyncIterable<Bytes>, read: (line: Buffer) => KeyedRecord | undefined): AsyncGenerator<InputPiece> {
  let line = 0;
  let readBytes = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  const itemOf = (bytes: Buffer): InputItem[] => {
    line++;
    try {
      const record = read(bytes);
      return record ? [{ line, record }] : [];
    } catch (error) {
      if (error instanceof KeyfleetError && error.code === 'KF_USAGE') throw error;
      return [{ line, problem: messageOf(error) }];
    }
  };
  for await (const bytes of input) {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    readBytes += chunk.length;
    const items: InputItem[] = [];
    let from = 0;
    for (let feed = chunk.indexOf(0x0a); feed >= 0; feed = chunk.indexOf(0x0a, from)) {
      const piece = chunk.subarray(from, feed);
      items.push(...itemOf(rest.length > 0 ? Buffer.concat([...rest, piece]) : piece));
      rest = [];
      restBytes = 0;
      from = feed + 1;
    }
    if (from < chunk.length) {
      rest.push(chunk.subarray(from));
      restBytes += chunk.length - from;
      if (restBytes > MAX_LINE_BYTES) throw new KeyfleetError('KF_BAD_RECORD', `line ${line + 1} is longer than ${MAX_LINE_BYTES} bytes`);
    }
    yield { items, readBytes };
  }
  if (restBytes > 0) yield { items: itemOf(Buffer.concat(rest)), readBytes };
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

function textOf(bytes: Bytes): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw new Error('not UTF-8');
  }
}

function ndjsonRecord(line: Buffer, { keyField, valueField }: InputOptions): KeyedRecord | undefined {
  const text = textOf(line);
  if (text.trim() === '') return undefined;
  const json: unknown = JSON.parse(text);
  if (keyField === undefined && valueField === undefined) {
    mustBeOurs(json);
    return recordOf(json);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new Error('not a JSON object');
  const fields = json as Readonly<Record<string, unknown>>;
  const key = keyText(fields, keyField ?? 'key');
  if (valueField === undefined) return { key, value: line, ttlMs: undefined };
  const value = fields[valueField];
  if (value === undefined) throw new Error(`no field ${JSON.stringify(valueField)}`);
  return { key, value: utf8Of(typeof value === 'string' ? value : JSON.stringify(value), valueField), ttlMs: undefined };
}

const OUR_FIELDS = ['key', 'key64', 'value', 'value64'];

/** A record from elsewhere has its key in some other field: says how to name it. */
function mustBeOurs(json: unknown): void {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return;
  const names = Object.keys(json);
  if (names.length === 0 || names.some((name) => OUR_FIELDS.includes(name))) return;
  const some = names.slice(0, 8).map((name) => JSON.stringify(name));
  throw new Error(`a record needs "key" or "key64"; if another field is the key, name it with --key: ${some.join(', ')}`);
}

function keyText(fields: Readonly<Record<string, unknown>>, name: string): Bytes {
  const value = fields[name];
  if (value === undefined || value === null) throw new Error(`no field ${JSON.stringify(name)}`);
  if (typeof value === 'string') return utf8Of(value, name);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return Buffer.from(String(value));
  throw new Error(`field ${JSON.stringify(name)} must be a string, or a whole number below 2^53, to be a key`);
}

function utf8Of(text: string, name: string): Bytes {
  if (/\p{Surrogate}/u.test(text)) throw new Error(`field ${JSON.stringify(name)} has half a surrogate pair, which no UTF-8 stands for`);
  return Buffer.from(text, 'utf8');
}

/** Fields between tabs, as they are: no quotes, no escapes, hence no tab or line feed inside. */
function tsvReader(options: InputOptions): (line: Buffer) => KeyedRecord | undefined {
  let columns: Columns | undefined;
  return (line) => {
    const text = textOf(line).replace(/\r$/, '');
    if (text === '') return undefined;
    const fields = text.split('\t');
    if (!columns) {
      columns = columnsOf(fields, options);
      if (options.hasHeader) return undefined;
    }
    return rowRecord(fields, columns);
  };
}

async function* readCsv(input: AsyncIterable<Bytes>, options: InputOptions): AsyncGenerator<InputPiece> {
  let items: InputItem[] = [];
  const parser: Parser = csvParser({
    bom: true,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip: (error) => void items.push({ line: Number(error?.['lines'] ?? 0), problem: messageOf(error) }),
  });
  let columns: Columns | undefined;
  let readBytes = 0;
  const take = (): void => {
    for (let row = parser.read() as CsvRow | null; row !== null; row = parser.read() as CsvRow | null) {
      const { record: fields, info } = row;
      if (!columns) {
        columns = columnsOf(fields, options);
        if (options.hasHeader) continue;
      }
      try {
        items.push({ line: info.lines, record: rowRecord(fields, columns) });
      } catch (error) {
        items.push({ line: info.lines, problem: messageOf(error) });
      }
    }
  };
  let failure: Error | undefined;
  parser.on('error', (error) => {
    failure = error;
  });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for await (const chunk of input) {
    readBytes += chunk.length;
    let text: string;
    try {
      text = decoder.decode(chunk, { stream: true });
    } catch {
      throw new KeyfleetError('KF_BAD_RECORD', `not UTF-8, in the ${chunk.length} bytes before byte ${readBytes} of the input`);
    }
    await new Promise<void>((resolve) => parser.write(text, () => resolve()));
    take();
    if (failure) throw new KeyfleetError('KF_BAD_RECORD', failure.message);
    yield { items: items.sort(byLine), readBytes };
    items = [];
  }
  await new Promise<void>((resolve) => {
    parser.once('end', resolve);
    parser.once('error', () => resolve());
    parser.on('readable', take);
    parser.end();
    take();
  });
  if (failure) throw new KeyfleetError('KF_BAD_RECORD', failure.message);
  yield { items: items.sort(byLine), readBytes };
}

/** The parser tells of what it skips before the records that stand before it. */
function byLine(a: InputItem, b: InputItem): number {
  return a.line - b.line;
}

interface CsvRow {
  readonly record: string[];
  readonly info: { readonly lines: number };
}

interface Columns {
  readonly key: number;
  /** Undefined: the whole row, as JSON. */
  readonly value: number | undefined;
  readonly ttlMs: number | undefined;
  readonly names: readonly string[] | undefined;
}

/** Where key, value and time to live stand. @throws KF_USAGE when a column is not there. */
function columnsOf(firstRow: readonly string[], { keyField, valueField, hasHeader }: InputOptions): Columns {
  const names = hasHeader ? firstRow : undefined;
  const find = (wanted: string, flag: string): number => {
    const named = names?.indexOf(wanted) ?? -1;
    if (named >= 0) return named;
    const number = /^[1-9]\d{0,4}$/.test(wanted) ? Number(wanted) - 1 : -1;
    if (number >= 0 && number < firstRow.length) return number;
    const there = names ? `its columns are ${names.map((name) => JSON.stringify(name)).join(', ')}` : `it has ${firstRow.length} columns`;
    throw new KeyfleetError('KF_USAGE', `the input has no column ${JSON.stringify(wanted)}; ${there}; name one with ${flag}`);
  };
  const ttlMs = names?.indexOf('ttlMs') ?? -1;
  const isPlain = keyField === undefined && valueField === undefined;
  return {
    key: find(keyField ?? (names ? 'key' : '1'), '--key'),
    value: isPlain ? find(names ? 'value' : '2', '--value') : valueField === undefined ? undefined : find(valueField, '--value'),
    ttlMs: isPlain && ttlMs >= 0 ? ttlMs : undefined,
    names,
  };
}

function rowRecord(fields: readonly string[], columns: Columns): KeyedRecord {
  if (columns.names && fields.length !== columns.names.length) {
    throw new Error(`${fields.length} fields where the header has ${columns.names.length}`);
  }
  const at = (column: number): string => {
    const field = fields[column];
    if (field === undefined) throw new Error(`no column ${column + 1}`);
    return field;
  };
  const { names } = columns;
  const whole = (): string => JSON.stringify(names ? Object.fromEntries(names.map((name, i) => [name, fields[i]])) : fields);
  const ttl = columns.ttlMs === undefined ? '' : at(columns.ttlMs);
  if (!/^(|[1-9]\d{0,13})$/.test(ttl)) throw new Error(`ttlMs must be a whole number of milliseconds from 1, not ${JSON.stringify(ttl)}`);
  return {
    key: Buffer.from(at(columns.key), 'utf8'),
    value: Buffer.from(columns.value === undefined ? whole() : at(columns.value), 'utf8'),
    ttlMs: ttl === '' ? undefined : Number(ttl),
  };
}
