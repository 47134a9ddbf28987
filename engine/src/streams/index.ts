/**
 * Small tools for work that flows: how many things happen at once, in which order results come out, bytes through programs.
 *
 * Invariants: bounded (nothing is queued without a limit set by the caller), no failure is lost, and nothing goes on in
 * the background after the tool has ended. Knows nothing of files, stores or PostgreSQL.
 */
export { ChildProgram } from './child-program.ts';
export { mapParallel } from './ordered-parallel.ts';
export { Semaphore } from './semaphore.ts';
