/**
 * Reading tar archives: as PostgreSQL sends them in a base backup, and looking into those of others as they pass by.
 *
 * Invariants: incremental and synchronous, so that it can sit in a socket's read callback; content is handed on as views,
 * never copied; nothing that a malformed or hostile archive says leaves this folder unchecked (paths stay inside).
 */
export { type TarEntry, type TarHandler, TarReader } from './tar-reader.ts';
export { TarWalker, type WalkedEntry } from './tar-walker.ts';
export { type WrittenFile, writeTar } from './tar-writer.ts';
