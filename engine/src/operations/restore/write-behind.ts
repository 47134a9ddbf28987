/**
 * Has the system write restored bytes to the disk while the restore goes on. Left alone, Linux keeps gigabytes of them in
 * memory, and the flush at the end then waits for the disk with idle processors. What is flushed here is only time won: the
 * end of a restore flushes everything again, and reports what cannot be written.
 */
import { open } from 'node:fs/promises';

/** Bytes written to one file after which it is flushed. */
const stretch = 64 << 20;
const mostAtOnce = 2;
/** Files are written one after the other, nearly: those begun long ago are left to the end. */
const mostFiles = 256;

export class WriteBehind {
  readonly #dirty = new Map<string, number>();
  readonly #running = new Set<Promise<void>>();

  /** Never waits, never throws. Small files are left to the end. */
  wrote(path: string, bytes: number): void {
    const dirty = (this.#dirty.get(path) ?? 0) + bytes;
    if (dirty < stretch || this.#running.size >= mostAtOnce) {
      this.#dirty.set(path, dirty);
      if (this.#dirty.size > mostFiles) this.#dirty.delete(this.#dirty.keys().next().value!);
      return;
    }
    this.#dirty.delete(path);
    const task = flush(path)
      .catch(() => undefined)
      .finally(() => this.#running.delete(task));
    this.#running.add(task);
  }

  async end(): Promise<void> {
    await Promise.all(this.#running);
  }
}

async function flush(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
