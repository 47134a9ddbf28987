/**
 * One file of an export, written as it is or sealed to recipients (age). What is sealed is never on the disk in clear: bytes pass
 * through here, some hundred KiB at a time.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { sealStream } from '../../../repository/index.ts';

/** Of the name of a file that is sealed. */
export const sealedSuffix = '.age';

export type Write = (bytes: Uint8Array) => Promise<void>;

export interface WrittenFile<T> {
  /** What `produce` resolved to. */
  readonly value: T;
  /** Of the bytes on the disk. */
  readonly sha256: string;
}

/** Durable when it resolves; `recipients` undefined: in clear. Throws system errors, and what `produce` throws. */
export async function writeExportFile<T>(
  path: string,
  recipients: readonly string[] | undefined,
  produce: (write: Write) => Promise<T>,
): Promise<WrittenFile<T>> {
  const handle = await open(path, 'wx', 0o600);
  const hash = createHash('sha256');
  const store: Write = async (bytes) => {
    hash.update(bytes);
    await handle.writeFile(bytes);
  };
  try {
    const value =
      recipients === undefined ? await produce(store) : await sealInto(store, recipients, produce);
    await handle.sync();
    return { value, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

/** Throws what `store` throws, before what `produce` throws because of it. */
export async function sealInto<T>(
  store: Write,
  recipients: readonly string[],
  produce: (write: Write) => Promise<T>,
): Promise<T> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const stored = storeAll(await sealStream(readable, recipients), store);
  const writer = writable.getWriter();
  // Both fail together; which is told is decided below.
  for (const promise of [stored, writer.closed]) promise.catch(() => undefined);
  try {
    const value = await produce((bytes) => writer.write(bytes));
    await writer.close();
    await stored;
    return value;
  } catch (thrown) {
    await writer.abort(thrown).catch(() => undefined);
    // A full disk is why it could not be written, not that the stream is closed.
    await stored;
    throw thrown;
  }
}

async function storeAll(sealed: ReadableStream<Uint8Array>, store: Write): Promise<void> {
  for await (const bytes of sealed) await store(bytes);
}
