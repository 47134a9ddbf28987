/** Files of changes as someone would write them who knows the format: with a right SHA-256. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import { ChangesetReader } from '../changeset-file.ts';

export interface ForgedBlock {
  readonly table: number;
  readonly lines: Buffer;
}

export interface OpenedChanges {
  // biome-ignore lint/suspicious/noExplicitAny: a test changes it into what it must not be
  readonly header: any;
  readonly blocks: readonly ForgedBlock[];
}

export async function openChanges(file: string): Promise<OpenedChanges> {
  await using reader = await ChangesetReader.open(file);
  const blocks: ForgedBlock[] = [];
  for await (const { table, lines } of reader.rows()) blocks.push({ table, lines });
  const bytes = await readFile(file);
  return { header: JSON.parse(bytes.toString('utf8', 12, 12 + bytes.readUInt32LE(8))), blocks };
}

export async function forgeChanges(file: string, { header, blocks }: OpenedChanges): Promise<void> {
  const packed = blocks.flatMap(({ table, lines }) => [
    packBlock(table, lines.length, zstdCompressSync(lines)),
  ]);
  await forgeFile(file, JSON.stringify(header), Buffer.concat([...packed, Buffer.alloc(13)]));
}

/** What the block says of itself need not be so. */
export function packBlock(table: number, raw: number, packed: Buffer): Buffer {
  const head = Buffer.alloc(13);
  head.writeUInt8(1, 0);
  head.writeUInt32LE(table >>> 0, 1);
  head.writeUInt32LE(raw >>> 0, 5);
  head.writeUInt32LE(packed.length, 9);
  return Buffer.concat([head, packed]);
}

export async function forgeFile(
  file: string,
  header: string | Buffer,
  blocks = Buffer.alloc(13),
): Promise<void> {
  const bytes = Buffer.from(header);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  const whole = Buffer.concat([Buffer.from('HVRESC01'), length, bytes, blocks]);
  await writeFile(file, Buffer.concat([whole, createHash('sha256').update(whole).digest()]));
}
