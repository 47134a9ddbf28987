/** Object lock over a backup: over everything that a restore of it reads. */
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

async function retainAll(
  driver: StorageDriver,
  names: Iterable<string> | AsyncIterable<string>,
  until: Date,
): Promise<number> {
  let count = 0;
  for await (const _ of mapParallel(names, atOnce, (name) => driver.extendRetention(name, until))) count++;
  return count;
}
