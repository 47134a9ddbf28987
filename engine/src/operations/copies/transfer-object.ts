/** One object from one copy to another: checked before it is stored, read back after it. */
import { HelvinoError } from '../../base/errors.ts';
import { type CatalogRing, checkObject, readBack } from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';

export interface Route {
  readonly source: StorageDriver;
  readonly target: StorageDriver;
  readonly ring: CatalogRing;
}

/** What a damaged or lost object at the source throws; anything else says that a store cannot be used. */
const sourceDamage = ['REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND', 'STORAGE_SHORT_READ', 'KEY_WRONG'];

/** `replace`: also over what is there, which is known to be damaged. Returns how many bytes it has. */
export async function transferObject(
  { source, target, ring }: Route,
  name: string,
  { replace = false } = {},
): Promise<number> {
  const bytes = await source.get(name);
  await checkObject(name, bytes, ring);
  try {
    await target.put(name, [bytes], { ifAbsent: !replace });
  } catch (thrown) {
    // Brought by another run meanwhile: what is read back decides.
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'STORAGE_EXISTS') throw thrown;
  }
  await readBack(target, name, [bytes]);
  return bytes.length;
}

/** Why the source cannot give an object; throws what is not the source's damage. */
export function damageAtSource(thrown: unknown): string {
  if (thrown instanceof HelvinoError && sourceDamage.includes(thrown.code)) return thrown.message;
  throw thrown;
}
