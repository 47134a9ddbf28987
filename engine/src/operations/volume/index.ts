/** Docker volumes: containers are stopped while theirs is read, and started again, also after a failure. */
export { checkContainers } from './left-containers.ts';
export { planRestoreVolume, restoreVolume } from './restore-volume.ts';
export { volumeBackup } from './volume-backup.ts';
