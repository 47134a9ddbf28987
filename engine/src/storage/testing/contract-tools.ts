import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { StorageDriver } from '../driver.ts';

/** An empty store and how to be rid of it. */
export interface TestStore {
  readonly driver: StorageDriver;
  close(): Promise<void>;
}

export async function withStore(
  open: () => Promise<TestStore>,
  use: (driver: StorageDriver) => Promise<void>,
): Promise<void> {
  const store = await open();
  try {
    await use(store.driver);
  } finally {
    await store.close();
  }
}

export function text(content: string): Uint8Array {
  return Buffer.from(content);
}

export async function namesOf(driver: StorageDriver, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const object of driver.list(prefix)) names.push(object.name);
  return names;
}

/** For assert.rejects: a HelvinoError of this code. */
export function hasCode(code: ErrorCode): (thrown: unknown) => boolean {
  return (thrown) => {
    if (thrown instanceof HelvinoError && thrown.code === code) return true;
    throw thrown;
  };
}

/** `length` bytes that differ everywhere and by seed, so that a shifted or mixed content is noticed. */
export function patterned(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let n = 0; n < words.length; n++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[n] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** The bytes as pieces of `size`. */
export function pieces(bytes: Uint8Array, size: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += size) views.push(bytes.subarray(at, at + size));
  return views;
}
