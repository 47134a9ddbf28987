/** Dumps: taken by pg_dump, restored beside what is there, swapped by name. */
export { type ApplicationSteps, noApplication } from './application.ts';
export { type DumpSource, dumpInBackup, dumpInFile } from './dump-source.ts';
export { logicalBackup } from './logical-backup.ts';
export { dumpToFile, type PlainFileResult } from './plain-file.ts';
export {
  connectAside,
  leftoverWords,
  planRestoreDatabase,
  type RestoreDatabaseResult,
  restoreDatabase,
} from './restore-database.ts';
export { dropKept, findKept, type KeptDatabase, listKept, undoSwap } from './swap.ts';
