import { describe, expect, test } from 'vitest';
import { type InputItem, type InputOptions, readInput } from './input-records.ts';

/** The items of `text`, given `step` bytes at a time. */
async function read(text: string | Buffer, options: Partial<InputOptions> = {}, step = 1 << 20): Promise<InputItem[]> {
  const bytes = Buffer.from(text as string);
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
  }
  const items: InputItem[] = [];
  let readBytes = 0;
  for await (const piece of readInput(chunks(), {
    format: 'ndjson',
    keyField: undefined,
    valueField: undefined,
    hasHeader: true,
    ...options,
  })) {
    items.push(...piece.items);
    readBytes = piece.readBytes;
  }
  expect(readBytes).toBe(bytes.length);
  return items;
}

const shown = (items: readonly InputItem[]): string[] =>
  items.map((item) => {
    if ('problem' in item) return `${item.line} ! ${item.problem}`;
    const { record } = item;
    const value = 'type' in record ? `${record.type} of ${record.parts.length} from ${record.from}` : String(Buffer.from(record.value));
    return `${item.line} ${Buffer.from(record.key)}=${value}${record.ttlMs === undefined ? '' : ` ${record.ttlMs}`}`;
  });

describe('NDJSON', () => {
  test('of collections', async () => {
    const lines = [
      '{"key":"l","type":"list","value":["a",{"base64":"/w=="}]}',
      '{"key":"h","type":"hash","value":[["f","v"]],"from":7,"ttlMs":5}',
      '{"key":"z","type":"zset","value":[["m","-inf"],["n","1.5e-7"]]}',
      '{"key":"s","type":"string","value":"v"}',
      '{"key":"x","type":"stream","value":["a"]}',
      '{"key":"x","type":"list","value":[]}',
      '{"key":"x","type":"set","value":[1]}',
      '{"key":"x","type":"set","value":[{"base64":"?"}]}',
      '{"key":"x","type":"hash","value":[["f"]]}',
      '{"key":"x","type":"zset","value":[["m","much"]]}',
      '{"key":"x","type":"set","value":["a"],"from":-1}',
      '{"type":"set","value":["a"]}',
    ];
    expect(shown(await read(lines.join('\n')))).toEqual([
      '1 l=list of 2 from 0',
      '2 h=hash of 2 from 7 5',
      '3 z=zset of 4 from 0',
      '4 s=v',
      '5 ! "type" must be string, list, set, hash, zset, not "stream"',
      '6 ! the "value" of a list is an array, not empty',
      '7 ! the parts of a collection are strings or {"base64":"…"}',
      '8 ! "base64" must be base64',
      '9 ! the "value" of a hash is an array of pairs',
      '10 ! the scores of a zset are numbers, as text',
      '11 ! "from" must be a whole number',
      '12 ! a record needs "key" or "key64"',
    ]);
  });

  test('in the plain form, bytes and time to live included', async () => {
    const items = await read('{"key":"a","value":"1"}\n\n{"key64":"/w==","value64":"AAE=","ttlMs":5}\n{"key":"ü","value":""}');
    expect(items).toEqual([
      { line: 1, record: { key: Buffer.from('a'), value: Buffer.from('1'), ttlMs: undefined } },
      { line: 3, record: { key: Buffer.from([0xff]), value: Buffer.from([0, 1]), ttlMs: 5 } },
      { line: 4, record: { key: Buffer.from('ü'), value: Buffer.alloc(0), ttlMs: undefined } },
    ]);
  });

  test('with a key field keeps the bytes of each line as they are', async () => {
    const text = '{ "id" : 7,  "n":1.0}\n{"id":"x","u":"\\u00fc"}\r\n';
    expect(shown(await read(text, { keyField: 'id' }))).toEqual(['1 7={ "id" : 7,  "n":1.0}', '2 x={"id":"x","u":"\\u00fc"}\r']);
  });

  test('with a value field keeps that: text as it is, anything else as JSON', async () => {
    const text = '{"id":"a","v":"text"}\n{"id":"b","v":{"x":[1]}}\n{"id":"c","v":null}\n{"id":"d"}\n';
    expect(shown(await read(text, { keyField: 'id', valueField: 'v' }))).toEqual([
      '1 a=text',
      '2 b={"x":[1]}',
      '3 c=null',
      '4 ! no field "v"',
    ]);
  });

  test('says how to name the key where a record has none of our fields', async () => {
    expect(shown(await read('{"name":"tea","price":2}\n{}'))).toEqual([
      '1 ! a record needs "key" or "key64"; if another field is the key, name it with --key: "name", "price"',
      '2 ! a record needs "key" or "key64"',
    ]);
  });

  test('names lines that are no records, and goes on after them', async () => {
    const text = Buffer.concat([
      Buffer.from('{"key":"a","value":"1"}\nnot json\n[1]\n{"value":"1"}\n{"key":1,"value":"1"}\n'),
      Buffer.from([0xff, 0x0a]),
      Buffer.from('{"key":"b","value":"2"}\n'),
    ]);
    const lines = shown(await read(text));
    expect(lines[0]).toBe('1 a=1');
    expect(lines[1]).toMatch(/^2 ! .*JSON/);
    expect(lines.slice(2)).toEqual([
      '3 ! a record is a JSON object',
      '4 ! a record needs "key" or "key64"',
      '5 ! "key" must be a string',
      '6 ! not UTF-8',
      '7 b=2',
    ]);
  });

  test('takes no key field that would not stay what it is', async () => {
    const text = '{"id":12345678901234567890}\n{"id":true}\n{"id":null}\n{"id":"\\ud800"}\n{"id":-3}\n';
    const lines = shown(await read(text, { keyField: 'id' }));
    expect(lines.map((line) => line.includes('!'))).toEqual([true, true, true, true, false]);
  });
});

describe('TSV and CSV', () => {
  const plain = ['2 a=1', '3 b=x "y"'];

  test('in the plain form, by the names of the columns', async () => {
    expect(shown(await read('key\tvalue\na\t1\r\nb\tx "y"\n', { format: 'tsv' }))).toEqual(plain);
    expect(shown(await read('value,key\n1,a\n"x ""y""",b\n', { format: 'csv' }))).toEqual(plain);
    expect(shown(await read('key,value,ttlMs\na,1,50\nb,2,\n', { format: 'csv' }))).toEqual(['2 a=1 50', '3 b=2']);
  });

  test('without a header, by number', async () => {
    expect(shown(await read('a\t1\nb\t2\n', { format: 'tsv', hasHeader: false }))).toEqual(['1 a=1', '2 b=2']);
    expect(shown(await read('1,x,a\n2,y,b\n', { format: 'csv', hasHeader: false, keyField: '3', valueField: '1' }))).toEqual([
      '1 a=1',
      '2 b=2',
    ]);
  });

  test('with a key column and no value column keep the row as JSON', async () => {
    expect(shown(await read('id\tname\n7\tX\n', { format: 'tsv', keyField: 'id' }))).toEqual(['2 7={"id":"7","name":"X"}']);
  });

  test('a quoted CSV field may hold line ends, which count', async () => {
    expect(shown(await read('key,value\na,"1\n2"\nb,3\n', { format: 'csv' }))).toEqual(['3 a=1\n2', '4 b=3']);
  });

  test('rows of another length, and broken quotes, are named', async () => {
    expect(shown(await read('key\tvalue\na\nb\t1\n', { format: 'tsv' }))).toEqual(['2 ! 1 fields where the header has 2', '3 b=1']);
    const lines = shown(await read('key,value\na,1\nb,"x"y\nc,3\n', { format: 'csv' }));
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^3 ! /);
  });

  test('a column that is not there: KF_USAGE with those that are', async () => {
    await expect(read('id,name\n1,x\n', { format: 'csv' })).rejects.toThrow('the input has no column "key"; its columns are "id", "name"');
    await expect(read('id\tname\n1\tx\n', { format: 'tsv', keyField: 'id', valueField: 'email' })).rejects.toMatchObject({
      code: 'KF_USAGE',
    });
  });
});

describe('however the bytes come', () => {
  test.each(['ndjson', 'tsv', 'csv'] as const)('%s: the same records one byte at a time', async (format) => {
    const text = {
      ndjson: '{"key":"ä","value":"€"}\nbad\n{"key":"b","value":"2"}\n',
      tsv: 'key\tvalue\nä\t€\nbad\nb\t2\n',
      csv: 'key,value\nä,"€\n€"\nbad\nb,2\n',
    }[format];
    for (const step of [1, 2, 7]) expect(await read(text, { format }, step)).toEqual(await read(text, { format }));
  });

  test('nothing at all is no record', async () => {
    for (const format of ['ndjson', 'tsv', 'csv'] as const) expect(await read('', { format })).toEqual([]);
  });
});
