/** A job has succeeded only if what it stored was read back and is what was meant (invariant 1). */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';

const step = 1 << 20;

/** Reads an object that was just written and compares it with what it should be. Throws STORAGE_IO. */
export async function readBack(
  driver: StorageDriver,
  name: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const buffer = Buffer.allocUnsafe(step);
  let offset = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += step) {
      const meant = piece.subarray(at, at + step);
      const got = await driver.get(name, { offset, length: meant.length }, buffer.subarray(0, meant.length));
      if (Buffer.compare(got, meant) !== 0) {
        throw new HelvinoError(
          'STORAGE_IO',
          `${name} reads back differently from what was written (within 1 MiB from byte ${offset})`,
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
