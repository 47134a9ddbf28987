/** Makes tar archives for tests. */
export interface TestTarEntry {
  readonly path: string;
  readonly type?: 'file' | 'directory' | 'symlink';
  readonly linkTarget?: string;
  readonly content?: Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly prefix?: string;
  /** What the header says, if not the content's length. */
  readonly size?: number;
  readonly flag?: string;
}

export function testTar(entries: readonly TestTarEntry[], { end = true } = {}): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const content = entry.content ?? new Uint8Array(0);
    parts.push(
      testTarHeader(entry),
      Buffer.from(content),
      Buffer.alloc((512 - (content.length % 512)) % 512),
    );
  }
  if (end) parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

export function testTarHeader(entry: TestTarEntry): Buffer {
  const block = Buffer.alloc(512);
  const type = entry.type ?? 'file';
  block.write(entry.path, 0);
  putNumber(block, { at: 100, length: 8, value: entry.mode ?? 0o600 });
  putNumber(block, { at: 108, length: 8, value: entry.uid ?? 101 });
  putNumber(block, { at: 116, length: 8, value: entry.gid ?? 104 });
  putNumber(block, { at: 124, length: 12, value: entry.size ?? entry.content?.length ?? 0 });
  putNumber(block, { at: 136, length: 12, value: entry.mtime ?? 1_700_000_000 });
  block.write(entry.flag ?? { file: '0', directory: '5', symlink: '2' }[type], 156, 'latin1');
  block.write(entry.linkTarget ?? '', 157);
  block.write('ustar\0' + '00', 257, 'latin1');
  block.write('postgres', 265);
  block.write('postgres', 297);
  block.write(entry.prefix ?? '', 345);
  return withChecksum(block);
}

export function withChecksum(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Octal, or base 256 where it does not fit, as src/port/tar.c does. */
function putNumber(
  block: Buffer,
  { at, length, value }: { at: number; length: number; value: number },
): void {
  if (value < 8 ** (length - 1)) {
    block.write(`${value.toString(8).padStart(length - 1, '0')} `, at, 'latin1');
    return;
  }
  block[at] = 0x80;
  for (let i = at + length - 1, rest = value; i > at; i--, rest = Math.floor(rest / 256))
    block[i] = rest % 256;
}
