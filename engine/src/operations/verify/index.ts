/** Verification of what is stored: structure, or every byte. */
export { recordVerification } from './record.ts';
export { type VerifyReport, verify } from './verify.ts';
