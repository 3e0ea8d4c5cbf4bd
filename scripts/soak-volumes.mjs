// npm run soak:volumes -- [--seconds N] [--seed N]                 kills masters and volumes while values move
// npm run soak:volumes -- --files 100000 --large-mib 2048          stores a large tree and fetches it back
// npm run soak:volumes -- --value-mib 5120                         one value of 5 GiB through a master and back, made up as it is sent
// Prints what it saw; ends with 1 when something was wrong.
import { pathToFileURL } from 'node:url';
import { bundle } from './bundle.mjs';
import { ensureBuilt } from './ready.mjs';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};

/** A TypeScript file of test/volume, loaded. */
async function load(name) {
  const out = await bundle(`test/volume/${name}.ts`, `node_modules/.cache/keyfleet-soak/${name}.mjs`, { isBesideEntry: true });
  return import(pathToFileURL(out).href);
}

ensureBuilt();
const files = option('files', 0);
if (files > 0) {
  const { treeRun } = await load('tree-run');
  const report = await treeRun({ files, largeBytes: option('large-mib', 0) * 1024 * 1024 });
  console.log({ ...report, importOutput: report.importOutput.trimEnd().split('\n').at(-1) });
  process.exit(report.same ? 0 : 1);
}

const valueMib = option('value-mib', 0);
if (valueMib > 0) {
  const { streamRun } = await load('stream-run');
  const report = await streamRun({ sizeBytes: valueMib * 1024 * 1024 });
  console.log(report);
  process.exit(report.same ? 0 : 1);
}

const { killLoop } = await load('kill-loop');
let seed = option('seed', Math.floor(Math.random() * 1_000_000));
for (let left = option('seconds', 60); left > 0; left -= 60) {
  const report = await killLoop({ seed, seconds: Math.min(60, left), keys: 120 });
  console.log(JSON.stringify({ ...report, wrong: report.wrong.length }));
  if (report.wrong.length > 0) {
    console.log(report.wrong.join('\n'));
    console.log(`again: npm run soak:volumes -- --seconds 60 --seed ${seed}`);
    process.exit(1);
  }
  seed++;
}
