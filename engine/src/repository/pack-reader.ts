/** Reading a pack with nothing but its name: trailer, directory, chunks. */
import type { StorageDriver } from '../storage/index.ts';
import type { CatalogRing } from './keys.ts';
import { packName } from './layout.ts';
import {
  damagedPack,
  decodeDirectory,
  decodeHeader,
  directoryLength,
  headerLength,
  type PackChunk,
  type PackIdentity,
  trailerLength,
} from './pack-format.ts';

export interface PackContents {
  readonly identity: PackIdentity;
  readonly size: number;
  readonly chunks: readonly (PackChunk & { readonly offset: number })[];
  /** Bytes of header and chunks, which begin the object. */
  readonly body: number;
}

/** Reads header and directory; checks that they describe every byte. Throws REPOSITORY_DAMAGED, KEY_WRONG, STORAGE_*. */
export async function readPackContents(
  driver: Pick<StorageDriver, 'head' | 'get'>,
  packId: string,
  ring: CatalogRing,
): Promise<PackContents> {
  const name = packName(packId);
  const size = (await driver.head(name))?.size;
  if (size === undefined) throw damagedPack(packId, 'it is missing');
  if (size < headerLength + trailerLength) throw damagedPack(packId, `it has only ${size} bytes`);
  const header = await driver.get(name, { offset: 0, length: headerLength });
  const identity = decodeHeader(header, packId);
  const trailer = await driver.get(name, { offset: size - trailerLength, length: trailerLength });
  const length = directoryLength(trailer, size, packId);
  const body = size - trailerLength - length;
  const key = ring.find(identity.catalogKeyId);
  if (key === undefined) throw damagedPack(packId, `its catalog key ${identity.catalogKeyId} is not known`);
  const sealed = await driver.get(name, { offset: body, length });
  const chunks: (PackChunk & { offset: number })[] = [];
  let offset = headerLength;
  for (const chunk of decodeDirectory(header, sealed, key, packId)) {
    chunks.push({ ...chunk, offset });
    offset += chunk.stored;
  }
  if (offset !== body) throw damagedPack(packId, `its chunks take ${offset} bytes, not ${body}`);
  return { identity, size, chunks, body };
}
