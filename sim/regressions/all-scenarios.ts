import { joiningScenarios } from './joining.ts';
import type { Scenario } from './scenario.ts';
import { snapshotScenarios } from './snapshots.ts';
import { splitAndMergeScenarios } from './splits-and-merges.ts';

export const SCENARIOS: readonly Scenario[] = [...snapshotScenarios, ...joiningScenarios, ...splitAndMergeScenarios];
