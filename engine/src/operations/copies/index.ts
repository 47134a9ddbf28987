/** Copies of a repository: what is missing there is copied, what is damaged is healed from another. */
export { type CopyOptions, type CopyPlan, type CopyReport, copy, copyLog, planCopy } from './copy.ts';
export { heal, mendDescriptor, planHeal } from './heal.ts';
