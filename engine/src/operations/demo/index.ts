/** The demo: a server, a backup, an accident, a restore that is proven. */
export type { DemoAccident } from './accident.ts';
export { type DemoResult, demo } from './demo.ts';
