/**
 * Compaction while backing up: where a backup would keep an old pack for the sake of a few chunks, those are copied into
 * a new pack. They are copied as they are, still sealed: the host has no key to open them. The old pack stays until no
 * other backup names it; nothing is rewritten.
 */
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import type { StorageDriver } from '../storage/index.ts';
import type { StoredPack } from './encoder-pool.ts';
import type { ChunkRef, FileEntry } from './extents.ts';
import { contentHasherOf } from './keys.ts';
import { packName } from './layout.ts';
import type { Manifest } from './manifest.ts';
import { maxChunk, PackBuilder, packCapacity } from './pack-builder.ts';
import { type PackContents, readPackContents } from './pack-reader.ts';
import { readBack } from './read-back.ts';
import type { Repository } from './repository.ts';

/** A pack is sparse when the backup needs less than this part of it. */
const sparse = 0.3;
/** The most bytes that one backup copies, so that compaction never dominates it. */
const budget = 512 << 20;
/** Names no key: the chunks of such a pack are sealed under the keys of their origins. */
const noKey = '0'.repeat(16);

export interface Compaction {
  /** The same file, with the places of chunks that were copied. */
  relocate(file: FileEntry): FileEntry;
  readonly stored: readonly StoredPack[];
}

/** `files`: those of the new backup; read once. */
export async function compactSparsePacks(
  repository: Repository,
  { files, parent }: { files: Iterable<FileEntry>; parent: Manifest },
): Promise<Compaction> {
  const sizes = new Map(
    [...parent.packs].filter((pack) => !pack.structure).map((pack) => [pack.id, pack.size]),
  );
  const live = liveChunks(files, sizes);
  const writer = new CopyWriter(repository);
  let left = budget;
  for (const [pack, chunks] of live) {
    const needed = [...chunks.values()].reduce((sum, chunk) => sum + chunk.stored, 0);
    if (needed >= sizes.get(pack)! * sparse || needed > left) continue;
    left -= needed;
    await writer.copy(pack, [...chunks.values()]);
  }
  await writer.flush();
  const { moved, stored } = writer;
  return { stored, relocate: (file) => relocate(file, moved) };
}

/** Per old pack the chunks that are needed of it; packs that turn out to be well used are forgotten at once. */
function liveChunks(
  files: Iterable<FileEntry>,
  sizes: ReadonlyMap<string, number>,
): Map<string, Map<number, ChunkRef>> {
  const live = new Map<string, Map<number, ChunkRef>>();
  const needed = new Map<string, number>();
  const dense = new Set<string>();
  for (const file of files) {
    for (const { chunk } of file.extents) {
      if (!chunk || dense.has(chunk.pack)) continue;
      const size = sizes.get(chunk.pack);
      if (size === undefined) continue;
      const chunks = live.get(chunk.pack) ?? new Map<number, ChunkRef>();
      if (chunks.has(chunk.index)) continue;
      const sum = (needed.get(chunk.pack) ?? 0) + chunk.stored;
      if (sum >= size * sparse) {
        dense.add(chunk.pack);
        live.delete(chunk.pack);
        continue;
      }
      needed.set(chunk.pack, sum);
      live.set(chunk.pack, chunks.set(chunk.index, chunk));
    }
  }
  return live;
}

function relocate(file: FileEntry, moved: ReadonlyMap<string, ChunkRef>): FileEntry {
  if (moved.size === 0 || !file.extents.some(({ chunk }) => chunk && moved.has(placeOf(chunk)))) return file;
  const extents = file.extents.map((extent) =>
    extent.chunk ? { ...extent, chunk: moved.get(placeOf(extent.chunk)) ?? extent.chunk } : extent,
  );
  return { ...file, extents };
}

function placeOf({ pack, index }: { pack: string; index: number }): string {
  return `${pack}/${index}`;
}

class CopyWriter {
  readonly moved = new Map<string, ChunkRef>();
  readonly stored: StoredPack[] = [];
  readonly #repository: Repository;
  readonly #driver: StorageDriver;
  #builder: PackBuilder | undefined;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#driver = repository.driver;
  }

  async copy(pack: string, chunks: readonly ChunkRef[]): Promise<void> {
    const contents = await this.#contents(pack);
    if (contents === undefined) return;
    const hasher = contentHasherOf(this.#repository.ring.find(contents.identity.catalogKeyId)!);
    for (const chunk of [...chunks].sort((a, b) => a.index - b.index)) {
      const facts = contents.chunks[chunk.index]!;
      const sealed = await this.#driver.get(packName(pack), { offset: chunk.offset, length: chunk.stored });
      // What is damaged is not copied: the old place stays, and `verify` names it.
      if (
        contents.identity.catalogKeyId !== this.#repository.ring.currentId ||
        !hasher.hash(sealed).equals(facts.storedHash)
      )
        continue;
      const origin = facts.origin ?? { pack, keyId: contents.identity.keyId, index: chunk.index };
      this.#builder ??= this.#open();
      const placed = this.#builder.addCopy(sealed, { ...facts, origin });
      this.moved.set(placeOf(chunk), {
        ...placed,
        pack: this.#builder.identity.id,
        keyId: origin.keyId,
        origin: { pack: origin.pack, index: origin.index },
      });
      if (this.#builder.full) await this.flush();
    }
  }

  /** Undefined when the pack is damaged: damage must not stop backups, and `verify` names it. */
  async #contents(pack: string): Promise<PackContents | undefined> {
    try {
      return await readPackContents(this.#driver, pack, this.#repository.ring);
    } catch (thrown) {
      if (thrown instanceof HelvinoError && thrown.code === 'REPOSITORY_DAMAGED') return undefined;
      throw thrown;
    }
  }

  async flush(): Promise<void> {
    if (this.#builder === undefined) return;
    const pieces = this.#builder.finish();
    const { id } = this.#builder.identity;
    this.#builder = undefined;
    await this.#driver.put(packName(id), pieces, { ifAbsent: true });
    await readBack(this.#driver, packName(id), pieces);
    this.stored.push({ id, keyId: noKey, size: pieces[0].length + pieces[1].length });
  }

  #open(): PackBuilder {
    const { current, currentId } = this.#repository.ring;
    return new PackBuilder({
      buffer: Buffer.allocUnsafe(packCapacity + maxChunk),
      identity: { id: randomHex(16), keyId: noKey, catalogKeyId: currentId, kind: 'data' },
      key: current,
      catalogKey: current,
      hasher: contentHasherOf(current),
      level: 3,
    });
  }
}
