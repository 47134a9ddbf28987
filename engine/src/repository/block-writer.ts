/**
 * Writes the files of a backup, in order of path, as file blocks. Where a block begins depends on the files only, not on
 * what comes before, so that a change in one place leaves the other blocks as they were: those are shared with the parent.
 */
import type { FileEntry } from './extents.ts';
import { encodeFileBlock } from './file-block.ts';
import { contentHasherOf } from './keys.ts';
import type { BlockRef, Manifest } from './manifest.ts';
import type { Repository } from './repository.ts';
import type { StructureWriter } from './structure.ts';

/** Blocks hold about this many extents and files at most; a file of many extents is alone in its block. */
const blockWeight = 1500;
const smallestWeight = 150;
const manyExtents = 200;

export interface WrittenBlocks {
  readonly blocks: BlockRef[];
  /** Structure packs of earlier backups that are referred to. */
  readonly sharedPacks: ReadonlySet<string>;
  readonly files: number;
  readonly bytes: number;
  /** Keys that the files' chunks are sealed under. */
  readonly keys: ReadonlySet<string>;
  /** Packs that the files refer to. */
  readonly dataPacks: ReadonlySet<string>;
}

export async function writeBlocks(
  repository: Repository,
  writer: StructureWriter,
  { files, parent }: { files: Iterable<FileEntry>; parent?: Manifest },
): Promise<WrittenBlocks> {
  const hasher = contentHasherOf(repository.ring.current);
  const known = new Map(parent?.blocks.map((block) => [`${block.hash} ${block.first}`, block]));
  const result = {
    blocks: [] as BlockRef[],
    sharedPacks: new Set<string>(),
    files: 0,
    bytes: 0,
    dataPacks: new Set<string>(),
    keys: new Set<string>(),
  };
  for (const group of groups(files)) {
    for (const file of group) {
      result.files++;
      result.bytes += file.size;
      for (const { chunk } of file.extents) {
        if (!chunk) continue;
        result.dataPacks.add(chunk.pack);
        result.keys.add(chunk.keyId);
      }
    }
    const plain = encodeFileBlock(group);
    const first = group[0]!.path;
    const hash = hasher.hash(plain).toString('hex');
    const shared = known.get(`${hash} ${first}`);
    if (shared) result.sharedPacks.add(shared.pack);
    result.blocks.push(shared ?? { ...(await writer.add(plain)), first, files: group.length, hash });
  }
  return result;
}

function* groups(files: Iterable<FileEntry>): Generator<FileEntry[]> {
  let group: FileEntry[] = [];
  let weight = 0;
  for (const file of files) {
    const alone = file.extents.length >= manyExtents;
    if (
      group.length > 0 &&
      (alone || weight >= blockWeight || (weight >= smallestWeight && isBoundary(file.path)))
    ) {
      yield group;
      group = [];
      weight = 0;
    }
    group.push(file);
    weight += 1 + file.extents.length;
    if (alone) {
      yield group;
      group = [];
      weight = 0;
    }
  }
  if (group.length > 0) yield group;
}

/** True for about one path in 64, always the same ones. */
function isBoundary(path: string): boolean {
  let hash = 0;
  for (let i = 0; i < path.length; i++) hash = (Math.imul(hash, 31) + path.charCodeAt(i)) | 0;
  return (hash & 63) === 0;
}
