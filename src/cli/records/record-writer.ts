import { isUtf8 } from 'node:buffer';
import { stringify } from 'csv-stringify/sync';
import type { Bytes } from '../../base/bytes.ts';
import { KeyfleetError } from '../../base/errors.ts';
import { viewOf } from '../../http/json-bytes.ts';
import { type KeyedRecord, recordLine, type StringRecord } from '../../http/record-json.ts';
import type { RecordFormat } from './input-records.ts';

export interface RecordWriter {
  /** What stands before all records. */
  readonly head: string;
  /** @throws KF_NOT_WRITABLE when the format has no way to write a record. */
  lines(records: readonly KeyedRecord[]): string | Bytes;
}

/** Writes records in a format that `keyfleet import` reads back. */
export function recordWriter(format: RecordFormat, { wholeRecords }: { readonly wholeRecords: boolean }): RecordWriter {
  if (wholeRecords) return { head: '', lines: wholeLines };
  switch (format) {
    case 'ndjson':
      return { head: '', lines: (records) => records.map((record) => `${recordLine(record)}\n`).join('') };
    case 'csv':
      return { head: 'key,value,ttlMs\n', lines: (records) => stringify(strings(records).map(csvRow)) };
    case 'tsv':
      return { head: 'key\tvalue\tttlMs\n', lines: (records) => strings(records).map(tsvRow).join('') };
  }
}

function wholeLines(records: readonly KeyedRecord[]): Bytes {
  const parts: Bytes[] = [];
  for (const { key, value } of strings(records)) {
    if (value.includes(0x0a)) throw notWritable(key, 'a value with a line feed is no line; leave --records out');
    parts.push(value, LINE_FEED);
  }
  return Buffer.concat(parts);
}

const LINE_FEED = new Uint8Array([0x0a]);

/** Only NDJSON has a form for collections. */
function strings(records: readonly KeyedRecord[]): StringRecord[] {
  return records.map((record) => {
    if ('type' in record) throw notWritable(record.key, `a ${record.type} is written as NDJSON only`);
    return record;
  });
}

function csvRow({ key, value, ttlMs }: StringRecord): string[] {
  return [textOf(key, key, 'CSV'), textOf(key, value, 'CSV'), ttlMs === undefined ? '' : String(ttlMs)];
}

function tsvRow({ key, value, ttlMs }: StringRecord): string {
  const fields = [textOf(key, key, 'TSV'), textOf(key, value, 'TSV'), ttlMs === undefined ? '' : String(ttlMs)];
  if (fields.some((field) => /[\t\n\r]/.test(field)))
    throw notWritable(key, 'TSV has no way to write a tab or line end inside a field; use csv or ndjson');
  return `${fields.join('\t')}\n`;
}

function textOf(key: Bytes, bytes: Bytes, format: string): string {
  if (!isUtf8(bytes)) throw notWritable(key, `${format} has no way to write bytes that are not UTF-8; use ndjson`);
  return viewOf(bytes).toString('utf8');
}

function notWritable(key: Bytes, why: string): KeyfleetError {
  return new KeyfleetError('KF_NOT_WRITABLE', `key ${JSON.stringify(viewOf(key).toString('utf8'))}: ${why}`);
}
