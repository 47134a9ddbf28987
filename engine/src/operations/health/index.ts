/** Health: what is there, measured against what was promised. */
export { type HealthReport, health, unknownHealth, worst } from './health.ts';
