/** A job has succeeded only if what it stored was read back and is what was meant (invariant 1). */
import { alignedMemory } from '../base/aligned-memory.ts';
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';

const step = 4 << 20;
/** Small objects do with less. */
const smallStep = 64 << 10;
/** Large buffers that are not in use: as many as there ever were objects read back at once. */
const buffers: Uint8Array[] = [];

/** Reads an object that was just written and compares it with what it should be. Throws STORAGE_IO. */
export async function readBack(
  driver: StorageDriver,
  name: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (size <= smallStep) return compare(driver, { name, pieces, buffer: Buffer.allocUnsafe(size) });
  const buffer = buffers.pop() ?? new Uint8Array(alignedMemory(step));
  try {
    await compare(driver, { name, pieces, buffer });
  } finally {
    buffers.push(buffer);
  }
}

async function compare(
  driver: StorageDriver,
  { name, pieces, buffer }: { name: string; pieces: readonly Uint8Array[]; buffer: Uint8Array },
): Promise<void> {
  let offset = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += buffer.length) {
      const meant = piece.subarray(at, at + buffer.length);
      const got = await driver.get(name, { offset, length: meant.length }, buffer.subarray(0, meant.length));
      if (Buffer.compare(got, meant) !== 0) {
        throw new HelvinoError(
          'STORAGE_IO',
          `${name} reads back differently from what was written (within 4 MiB from byte ${offset})`,
          {
            hint: 'the disk or the network changes data: check its health before you trust anything that it holds',
            context: { object: name, offset },
          },
        );
      }
      offset += meant.length;
    }
  }
}
