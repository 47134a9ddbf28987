/**
 * One 512-byte tar header, as PostgreSQL's src/port/tar.c writes it: POSIX ustar
 * (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html, "ustar Interchange Format") with numbers in octal or,
 * when they do not fit, big-endian base 256 marked by a first byte of 0x80.
 */
import { HelvinoError } from '../base/errors.ts';

export interface TarEntry {
  /** Relative, `/`-separated, without `.` and empty parts; `.` for the root itself. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Of a symlink only. */
  readonly linkTarget: string | undefined;
  /** Bytes of content that follow; 0 unless a file. */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
}

export const blockSize = 512;

const types: Readonly<Record<string, TarEntry['type']>> = {
  '0': 'file',
  '\0': 'file',
  '2': 'symlink',
  '5': 'directory',
};
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `at`: the header's offset in the archive, for messages. Throws PROTOCOL. */
export function parseTarHeader(block: Uint8Array, at: number): TarEntry {
  if (headerNumber(block, { from: 148, length: 8, name: 'checksum', at }) !== checksum(block)) {
    throw malformed(at, 'the header checksum is wrong');
  }
  const flag = String.fromCharCode(block[156]!);
  const type = types[flag];
  if (type === undefined) throw malformed(at, `entries of type ${JSON.stringify(flag)} are not supported`);
  const size = headerNumber(block, { from: 124, length: 12, name: 'size', at });
  if (size > 0 && type !== 'file') throw malformed(at, `a ${type} with ${size} bytes of content`);
  const prefix = hasPrefix(block) ? headerText(block, { from: 345, length: 155, name: 'prefix', at }) : '';
  const name = headerText(block, { from: 0, length: 100, name: 'name', at });
  const linkTarget =
    type === 'symlink' ? headerText(block, { from: 157, length: 100, name: 'link target', at }) : undefined;
  if (linkTarget === '') throw malformed(at, 'a symlink without a target');
  return {
    path: safePath(prefix === '' ? name : `${prefix}/${name}`, at),
    type,
    linkTarget,
    size,
    mode: headerNumber(block, { from: 100, length: 8, name: 'mode', at }),
    uid: headerNumber(block, { from: 108, length: 8, name: 'uid', at }),
    gid: headerNumber(block, { from: 116, length: 8, name: 'gid', at }),
    mtime: headerNumber(block, { from: 136, length: 12, name: 'mtime', at }),
  };
}

export function malformed(at: number, problem: string): HelvinoError {
  return new HelvinoError('PROTOCOL', `malformed tar archive at byte ${at}: ${problem}`, {
    context: { offset: at },
  });
}

interface Field {
  readonly from: number;
  readonly length: number;
  readonly name: string;
  readonly at: number;
}

/** The sum of all bytes, those of the checksum itself counted as spaces. */
export function checksum(block: Uint8Array): number {
  let sum = 8 * 0x20;
  for (let i = 0; i < 148; i++) sum += block[i]!;
  for (let i = 156; i < blockSize; i++) sum += block[i]!;
  return sum;
}

export function headerNumber(block: Uint8Array, field: Field): number {
  const { from, length } = field;
  const value = block[from]! === 0x80 ? base256(block, from + 1, from + length) : octal(block, field);
  if (!Number.isSafeInteger(value)) throw malformed(field.at, `the field ${field.name} is too large`);
  return value;
}

function base256(block: Uint8Array, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) value = value * 256 + block[i]!;
  return value;
}

function octal(block: Uint8Array, { from, length, name, at }: Field): number {
  const to = from + length;
  let i = from;
  while (i < to && block[i] === 0x20) i++;
  let value = 0;
  for (; i < to; i++) {
    const digit = block[i]! - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; i < to; i++) {
    if (block[i] !== 0 && block[i] !== 0x20) throw malformed(at, `the field ${name} is not a number`);
  }
  return value;
}

export function headerText(block: Uint8Array, { from, length, name, at }: Field): string {
  const field = block.subarray(from, from + length);
  const end = field.indexOf(0);
  try {
    return utf8.decode(end < 0 ? field : field.subarray(0, end));
  } catch {
    throw malformed(at, `the field ${name} is not UTF-8`);
  }
}

/** The magic `ustar\0`; archives of GNU tar have `ustar ` and other things where the prefix would be. */
function hasPrefix(block: Uint8Array): boolean {
  return block[257] === 0x75 && block[261] === 0x72 && block[262] === 0;
}

function safePath(raw: string, at: number): string {
  if (raw === '') throw malformed(at, 'an entry without a name');
  const parts = raw.split('/');
  if (parts[0] === '' || parts.includes('..')) {
    throw malformed(at, `the path ${JSON.stringify(raw)} leads out of the archive`);
  }
  const clean = parts.filter((part) => part !== '' && part !== '.').join('/');
  return clean === '' ? '.' : clean;
}
