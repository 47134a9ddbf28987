/** Archive classes of stores: what goes there, and back. */
export { applyLifecycle, type LifecyclePlan, planLifecycle } from './plan.ts';
export { thawBackup } from './thaw.ts';
