/** Runs: what was tried and how it went, also when it failed. */
export { recordRun } from './record-run.ts';
