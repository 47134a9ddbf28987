/** Object lock over a backup, and over a log: over everything that a restore reads. */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { mapParallel } from '../streams/index.ts';
import {
  catalogKeysPrefix,
  dataKeysPrefix,
  descriptorName,
  ledgerName,
  manifestName,
  packName,
} from './layout.ts';
import { listLogFiles } from './log-store.ts';

const atOnce = 8;

interface Needs {
  readonly packs: Iterable<{ readonly id: string }>;
  readonly keys: readonly string[];
}

/** What a backup needs before its manifest is written: packs, also those of earlier backups, and keys. Never shortens. */
export async function retainNeeds(
  driver: StorageDriver,
  { packs, keys }: Needs,
  until: Date,
): Promise<number> {
  async function* names(): AsyncGenerator<string, void, void> {
    yield descriptorName;
    for (const { id } of packs) yield packName(id);
    for (const prefix of [catalogKeysPrefix, ...keys.map((keyId) => `${dataKeysPrefix}${keyId}/`)])
      for await (const { name } of driver.list(prefix)) yield name;
  }
  return retainAll(driver, names(), until);
}

/** The same, and the manifest. Returns how many objects are retained until then. */
export async function retainBackup(
  driver: StorageDriver,
  manifest: Needs & { readonly database: string; readonly id: string },
  until: Date,
): Promise<number> {
  const { database, id } = manifest;
  const needs = await retainNeeds(driver, manifest, until);
  return needs + (await retainAll(driver, [manifestName(database, id), ledgerName(database, id)], until));
}

/** Pieces of a log, each until its own time; until the last one the small files beside them, and all keys. */
export async function retainLog(
  driver: StorageDriver,
  {
    database,
    pieces,
    until,
  }: {
    database: string;
    pieces: Iterable<{ readonly name: string; readonly until: Date }>;
    until: Date;
  },
): Promise<void> {
  for await (const _ of mapParallel(pieces, atOnce, async (piece) => {
    try {
      await driver.extendRetention(piece.name, piece.until);
    } catch (thrown) {
      // Replaced by a longer piece since it was listed.
      if (!(thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND')) throw thrown;
    }
  }));
  async function* others(): AsyncGenerator<string, void, void> {
    for (const kind of ['history', 'cluster', 'labels', 'gaps'] as const)
      yield* listLogFiles(driver, database, kind);
    for (const prefix of [catalogKeysPrefix, dataKeysPrefix])
      for await (const { name } of driver.list(prefix)) yield name;
  }
  await retainAll(driver, others(), until);
}

async function retainAll(
  driver: StorageDriver,
  names: Iterable<string> | AsyncIterable<string>,
  until: Date,
): Promise<number> {
  let count = 0;
  for await (const _ of mapParallel(names, atOnce, (name) => driver.extendRetention(name, until))) count++;
  return count;
}
