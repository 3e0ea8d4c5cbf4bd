import fc from 'fast-check';

// Before every test file: properties take the same examples in every run, so that a run does not fail by chance of what was not touched.
// KEYFLEET_PROPERTY_SEED=N tries others.

fc.configureGlobal({ seed: Number(process.env['KEYFLEET_PROPERTY_SEED'] ?? 20_261_122) });
