/** Physical backups: one base backup, the WAL that it needs, what helps to prove it, and the manifest last. */
export { backup } from './backup.ts';
