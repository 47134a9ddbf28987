/**
 * An exported folder, read back. What is in it may be damaged or anyone's work: every byte is compared with the length and
 * SHA-256 of the manifest each time it is read, nothing is read without end, and nothing in clear is written.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError, systemCode, targetCode } from '../../../base/errors.ts';
import type { Identities } from '../../../repository/index.ts';
import { sealedSuffix } from './export-file.ts';
import { type ExportManifest, manifestName, parseManifest, type RowFile } from './manifest.ts';

/** Of a manifest, and of the head of an age file: there are a few hundred recipients at most. */
const maxManifest = 64 * 1024 * 1024;
const maxHead = 64 * 1024;
const chunkBytes = 256 * 1024;

export interface ExportFolder {
  readonly folder: string;
  readonly manifest: ExportManifest;
  /** Its content in clear. Throws EXPORT_INVALID, at the end at the latest, when it is not what the manifest says. */
  read(file: RowFile): AsyncGenerator<Uint8Array>;
}

/**
 * `identities` is asked for when the folder is encrypted. Throws what that throws, KEY_WRONG when it is encrypted to others,
 * EXPORT_INVALID, TARGET_DENIED, TARGET_IO.
 */
export async function openExport(
  folder: string,
  identities: () => Promise<Identities>,
): Promise<ExportFolder> {
  // Sealed first: what lies beside it in clear may have been put there.
  const handle = await openFile(folder, manifestName + sealedSuffix);
  await handle?.close();
  const place = { folder, identities: handle && (await identities()) };
  const manifest = await readManifest(place);
  return { folder, manifest, read: (file) => checked(place, file) };
}

/** Every file once. Throws EXPORT_INVALID. */
export async function checkFiles({ manifest, read }: ExportFolder): Promise<void> {
  for (const file of manifest.tables.flatMap(({ own, shared }) => [own, shared]))
    if (file !== null) for await (const _ of read(file));
}

interface Place {
  readonly folder: string;
  /** Undefined: the files are in clear. */
  readonly identities: Identities | undefined;
}

async function readManifest(place: Place): Promise<ExportManifest> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of content(place, manifestName)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxManifest) throw invalid(place.folder, `its ${manifestName} is too long`);
  }
  try {
    return parseManifest(Buffer.concat(chunks));
  } catch (thrown) {
    throw invalid(place.folder, `its ${manifestName} is none of this version`, thrown);
  }
}

async function* checked(place: Place, file: RowFile): AsyncGenerator<Uint8Array> {
  const { folder } = place;
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of content(place, file.file)) {
    hash.update(chunk);
    bytes += chunk.length;
    if (bytes > file.bytes) throw invalid(folder, `${file.file} is longer than ${file.bytes} bytes`);
    yield chunk;
  }
  if (bytes !== file.bytes) throw invalid(folder, `${file.file} has ${bytes} bytes, not ${file.bytes}`);
  if (hash.digest('hex') !== file.sha256) throw invalid(folder, `the SHA-256 of ${file.file} is wrong`);
}

/** `name`: as the manifest calls it. */
async function* content({ folder, identities }: Place, name: string): AsyncGenerator<Uint8Array> {
  const stored = identities ? name + sealedSuffix : name;
  const handle = await openFile(folder, stored);
  if (!handle) throw invalid(folder, `there is no ${stored}`);
  try {
    const bytes = streamOf(handle);
    yield* identities ? await unseal(handle, bytes, { identities, path: join(folder, stored) }) : bytes;
  } catch (thrown) {
    if (thrown instanceof HelvinoError) throw thrown;
    if (systemCode(thrown) !== undefined) throw fileError(folder, thrown);
    throw invalid(folder, `${stored} was changed, or is cut off`, thrown);
  } finally {
    await handle.close();
  }
}

async function unseal(
  handle: FileHandle,
  sealed: ReadableStream<Uint8Array>,
  { identities, path }: { readonly identities: Identities; readonly path: string },
): Promise<ReadableStream<Uint8Array>> {
  const head = Buffer.alloc(maxHead);
  const { bytesRead } = await handle.read(head, 0, maxHead, 0);
  // Each recipient of a head is tried, and all of it is kept.
  if (!head.subarray(0, bytesRead).includes('\n---')) throw new Error('its head does not end');
  const plain = await identities.openStream(sealed);
  if (plain) return plain;
  throw new HelvinoError('KEY_WRONG', `the recovery identity given does not open ${path}`, {
    hint: `the identity's recipient is ${identities.recipients.join(', ')}; give the one of a recipient that it was exported to`,
  });
}

/** Undefined when it is not there. Pipes and devices would never end. */
async function openFile(folder: string, name: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(join(folder, name), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw fileError(folder, thrown);
  }
  const isFile = await handle.stat().then((facts) => facts.isFile());
  if (isFile) return handle;
  await handle.close();
  throw invalid(folder, `${name} is no file`);
}

function streamOf(handle: FileHandle): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, at);
        at += bytesRead;
        if (bytesRead === 0) controller.close();
        else controller.enqueue(buffer.subarray(0, bytesRead));
      },
    },
    { highWaterMark: 0 },
  );
}

function fileError(folder: string, thrown: unknown): HelvinoError {
  return new HelvinoError(targetCode(thrown), `${folder}: ${String(thrown)}`, { cause: thrown });
}

function invalid(folder: string, why: string, cause?: unknown): HelvinoError {
  return new HelvinoError('EXPORT_INVALID', `${folder} is no export of an organization, or damaged: ${why}`, {
    cause,
    hint: 'export again, or copy the folder again: `sha256sum -c SHA256SUMS` in it says which file is wrong',
  });
}
