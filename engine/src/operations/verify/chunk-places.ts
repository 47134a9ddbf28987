/**
 * Where every chunk of the packs lies, as their directories say: what the file blocks say is compared with it. Kept as
 * plain numbers, three for each chunk.
 */
import { HelvinoError } from '../../base/errors.ts';
import { type ChunkRef, type PackContents, packName } from '../../repository/index.ts';

export class ChunkPlaces {
  readonly #packs = new Map<string, Float64Array>();

  add(contents: PackContents): void {
    const numbers = new Float64Array(contents.chunks.length * 3);
    for (const [i, { offset, stored, raw }] of contents.chunks.entries())
      numbers.set([offset, stored, raw], i * 3);
    this.#packs.set(contents.identity.id, numbers);
  }

  /** True also for packs that could not be read: that is a fault of its own. */
  matches({ pack, index, offset, stored, raw }: ChunkRef): boolean {
    const numbers = this.#packs.get(pack);
    if (numbers === undefined) return true;
    return (
      numbers[index * 3] === offset && numbers[index * 3 + 1] === stored && numbers[index * 3 + 2] === raw
    );
  }
}

export function wrongPlace({ pack, index }: ChunkRef): HelvinoError {
  return new HelvinoError(
    'REPOSITORY_DAMAGED',
    `a file block refers to chunk ${index} of ${packName(pack)} at another place than the pack's directory`,
  );
}

export function foreignKey({ pack, index, keyId }: ChunkRef): HelvinoError {
  return new HelvinoError(
    'REPOSITORY_DAMAGED',
    `chunk ${index} of ${packName(pack)} is sealed under the key ${keyId}, which the manifest does not name`,
  );
}
