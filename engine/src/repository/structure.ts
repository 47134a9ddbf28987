/**
 * Structure packs: file blocks and sections, readable with the catalog key. Written at the end of a backup, on the main
 * thread: they are small beside the data.
 */
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import type { StorageDriver } from '../storage/index.ts';
import { deriveKey } from './crypto.ts';
import type { StoredPack } from './encoder-pool.ts';
import { type CatalogRing, contentHasherOf } from './keys.ts';
import { packName } from './layout.ts';
import type { StructureRef } from './manifest.ts';
import { PackBuilder, packCapacity } from './pack-builder.ts';
import { damagedPack, openChunk } from './pack-format.ts';
import { readBack } from './read-back.ts';

/** The largest structure chunk, in plain bytes: the block of one file with as many extents as it has pages fits. */
const maxStructure = 8 << 20;
/** A text of lines is cut into chunks of about this many bytes. */
const sectionChunk = 256 << 10;

export class StructureWriter {
  readonly stored: StoredPack[] = [];
  readonly #driver: StorageDriver;
  readonly #ring: CatalogRing;
  #builder: PackBuilder | undefined;

  constructor(driver: StorageDriver, ring: CatalogRing) {
    this.#driver = driver;
    this.#ring = ring;
  }

  /** At most 8 MiB. */
  async add(plain: Uint8Array): Promise<StructureRef> {
    if (plain.length > maxStructure)
      throw new HelvinoError('INTERNAL', `a structure chunk of ${plain.length} bytes is too large`);
    this.#builder ??= this.#open();
    const hash = contentHasherOf(this.#ring.current).hash(plain);
    const placed = this.#builder.add(plain, [{ length: plain.length, hash }]);
    const ref = { pack: this.#builder.identity.id, ...placed };
    if (this.#builder.full) await this.flush();
    return ref;
  }

  /** Values as JSON lines in chunks. */
  async addSection(values: Iterable<unknown>): Promise<StructureRef[]> {
    const refs: StructureRef[] = [];
    let lines: string[] = [];
    let length = 0;
    for (const value of values) {
      const line = `${JSON.stringify(value)}\n`;
      if (length > 0 && length + line.length * 3 > maxStructure) await emit.call(this);
      lines.push(line);
      length += line.length;
      if (length >= sectionChunk) await emit.call(this);
    }
    if (length > 0) await emit.call(this);
    return refs;

    async function emit(this: StructureWriter): Promise<void> {
      refs.push(await this.add(Buffer.from(lines.join(''))));
      lines = [];
      length = 0;
    }
  }

  /** Makes what was added durable. */
  async flush(): Promise<void> {
    if (this.#builder === undefined) return;
    const pieces = this.#builder.finish();
    const { id, keyId } = this.#builder.identity;
    this.#builder = undefined;
    await this.#driver.put(packName(id), pieces, { ifAbsent: true });
    await readBack(this.#driver, packName(id), pieces);
    this.stored.push({ id, keyId, size: pieces[0].length + pieces[1].length });
  }

  #open(): PackBuilder {
    const keyId = this.#ring.currentId;
    return new PackBuilder({
      buffer: Buffer.allocUnsafe(packCapacity + maxStructure),
      identity: { id: randomHex(16), keyId, catalogKeyId: keyId, kind: 'structure' },
      key: this.#ring.current,
      catalogKey: this.#ring.current,
      hasher: contentHasherOf(this.#ring.current),
      level: 3,
    });
  }
}

/** Plain bytes of a structure chunk; `keyId` is that of its pack. Throws REPOSITORY_DAMAGED, STORAGE_*. */
export async function readStructure(
  driver: StorageDriver,
  key: Uint8Array,
  ref: StructureRef,
): Promise<Uint8Array> {
  return open(await driver.get(packName(ref.pack), { offset: ref.offset, length: ref.stored }), key, ref);
}

/** Neighbours are read together up to this many bytes: each read can be a request to a store far away. */
const readAtOnce = 2 << 20;

/** Plain bytes of structure chunks, in order; neighbours are read in one go. Throws as `readStructure`. */
export async function* readStructures<Ref extends StructureRef>(
  driver: StorageDriver,
  keyOf: (ref: Ref) => Uint8Array,
  refs: readonly Ref[],
): AsyncGenerator<{ ref: Ref; plain: Uint8Array }> {
  for (let from = 0; from < refs.length; ) {
    const first = refs[from]!;
    let to = from + 1;
    let end = first.offset + first.stored;
    for (; to < refs.length; to++) {
      const { pack, offset, stored } = refs[to]!;
      if (pack !== first.pack || offset !== end || offset + stored - first.offset > readAtOnce) break;
      end = offset + stored;
    }
    const range = { offset: first.offset, length: end - first.offset };
    const bytes = await driver.get(packName(first.pack), range);
    for (; from < to; from++) {
      const ref = refs[from]!;
      const at = ref.offset - range.offset;
      yield { ref, plain: open(bytes.subarray(at, at + ref.stored), keyOf(ref), ref) };
    }
  }
}

function open(sealed: Uint8Array, key: Uint8Array, ref: StructureRef): Uint8Array {
  if (ref.raw > maxStructure) throw damagedPack(ref.pack, `chunk ${ref.index} claims ${ref.raw} bytes`);
  return openChunk(deriveKey(key, Buffer.from(ref.pack, 'hex'), 'chunk'), ref, sealed);
}
