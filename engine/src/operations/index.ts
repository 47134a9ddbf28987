/**
 * Operations: what a user asks for, each a procedure that reads as a list of steps with its phases in files of their own.
 * Here storage, repository and PostgreSQL meet. Invariants: data before manifest; plan before apply; what did not run is
 * `unproven`, never `passed`; nothing is left behind when an operation ends, however it ends.
 */
export { bytesOfAlone, type ListedBackup, listBackups } from './list.ts';
export {
  connectionOf,
  openArchive,
  openConfigured,
  openMirrors,
  openStorage,
  openWithIdentity,
  parsePlace,
  surroundingsOf,
} from './open.ts';
