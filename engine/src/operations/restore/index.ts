/** Restores: target resolved and refused before anything is written; pg_control last. */
export { findRecovery, type Recovery } from './find-recovery.ts';
export type { AfterRecovery } from './finish.ts';
export { inheritedArchiving } from './inherited-archiving.ts';
export { planRestore, restore } from './restore.ts';
export { parseTarget } from './target-words.ts';
