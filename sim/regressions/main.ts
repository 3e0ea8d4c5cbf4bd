import { SCENARIOS } from './all-scenarios.ts';

// Plays the scenario whose name is given, and ends with 1 when it fails: for bundles in which its mend is taken back.

const [name = ''] = process.argv.slice(2);
const scenario = SCENARIOS.find((one) => one.name === name);
if (!scenario) {
  console.error(`there is no scenario "${name}"`);
  process.exit(2);
}
try {
  await scenario.play();
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
