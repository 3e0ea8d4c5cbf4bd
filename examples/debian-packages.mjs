// Turns `apt-cache dumpavail` into NDJSON, a package a line, for trying `keyfleet import` on some 60,000 real records:
//   apt-cache dumpavail | node examples/debian-packages.mjs > packages.ndjson
//   keyfleet import packages.ndjson --key name
import { createInterface } from 'node:readline';

const FIELDS = {
  Package: 'name',
  Version: 'version',
  Section: 'section',
  Description: 'summary',
  'Description-en': 'summary',
  Homepage: 'homepage',
};
let record = {};
let field;

function finish() {
  if (record.name !== undefined) process.stdout.write(`${JSON.stringify(record)}\n`);
  record = {};
  field = undefined;
}

process.stdout.on('error', () => process.exit(0));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === '') finish();
  else if (line.startsWith(' ')) {
    // The lines of a long description; a dot stands for an empty one.
    if (field === 'summary') record.text = `${record.text === undefined ? '' : `${record.text}\n`}${line === ' .' ? '' : line.slice(1)}`;
  } else {
    const colon = line.indexOf(':');
    field = FIELDS[line.slice(0, colon)];
    if (field !== undefined) record[field] = line.slice(colon + 1).trim();
  }
}
finish();
