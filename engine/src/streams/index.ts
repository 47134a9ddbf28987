/**
 * Small tools for work that flows: how many things happen at once, and in which order results come out.
 *
 * Invariants: bounded (nothing is queued without a limit set by the caller), no failure is lost, and nothing goes on in
 * the background after the tool has ended. Knows nothing of files, stores or PostgreSQL.
 */
export { mapParallel } from './ordered-parallel.ts';
export { Semaphore } from './semaphore.ts';
