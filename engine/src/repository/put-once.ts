/** Objects that say the same whoever writes them: one that is there already was written by a run that stopped half-way, or by another. */
import { HelvinoError } from '../base/errors.ts';
import type { PutOptions, StorageDriver } from '../storage/index.ts';

/** Durable when it resolves; what is there already stays. */
export async function putOnce(
  driver: StorageDriver,
  name: string,
  body: readonly Uint8Array[],
  options: Omit<PutOptions, 'ifAbsent'> = {},
): Promise<void> {
  try {
    await driver.put(name, body, { ...options, ifAbsent: true });
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS')) throw thrown;
  }
}
