/** Drills: restore somewhere, start, check, compare, report, clean up. What did not run is `unproven`, never `passed`. */
export { drill } from './drill.ts';
export { type DrillReport, recoveryTime } from './report.ts';
export { runPlan } from './run-plan.ts';
