/** Damage to the files of a repository. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';

/** One bit of a byte. */
export async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  assert.ok(at < bytes.length);
  bytes[at]! ^= 1 << (at % 8);
  await writeFile(file, bytes);
}

/** Each has the other's content. */
export async function exchange(one: string, other: string): Promise<void> {
  const [a, b] = await Promise.all([readFile(one), readFile(other)]);
  await writeFile(one, b);
  await writeFile(other, a);
}
