/**
 * Where objects are kept: the driver contract (driver.ts), its implementations, and decorators that work on any of them.
 *
 * Invariants: the contract in driver.ts, which testing/contract.ts checks on every driver; a driver classifies errors and
 * does not retry; nobody here knows what an object's name or bytes mean, except that `leases/` must never wait (limit.ts).
 * Usual order: `withLimit(withRetry(driver))`, so that a call that pauses between tries keeps its place.
 */
export type { PutOptions, StorageDriver } from './driver.ts';
export { openFsDriver } from './fs-driver.ts';
export { withLimit } from './limit.ts';
export { openMemoryDriver } from './memory-driver.ts';
export { type Meter, withMeter } from './meter.ts';
export { withRetention } from './retain.ts';
export { type RetryFacts, withRetry } from './retry.ts';
export type { S3Archive, ThawTier, Transition } from './s3-archive.ts';
export type { S3Options } from './s3-options.ts';
export type { S3Rights } from './s3-probe.ts';

/** All of S3. With its SDK, which whoever stores in a folder need not wait for: a fifth of the time that a command takes to start. */
export const loadS3 = () => import('./s3.ts');
