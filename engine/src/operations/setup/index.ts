/** Set-up: the first configuration, and what `doctor` looks at. */
export { checkClock } from './check-clock.ts';
export { checkProofs } from './check-proofs.ts';
export { checkConfigured, checkServer, type Finding } from './check-server.ts';
export { checkStore } from './check-store.ts';
export { init } from './init.ts';
