/** Retention: a plan that can be read, then the same plan applied. */
export { type AppliedRetention, applyRetention } from './apply.ts';
export { type KindPlan, objectivesOf, planRetentionOf, type RetentionPlan } from './plan.ts';
