/**
 * A small tar archive in memory, the same bytes for the same files: POSIX ustar
 * (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html), no times, no owners.
 */
import { HelvinoError } from '../base/errors.ts';
import { blockSize, checksum } from './tar-header.ts';

export interface WrittenFile {
  /** Relative, `/`-separated. */
  readonly path: string;
  readonly content: Uint8Array;
}

/** In the order given. Throws INTERNAL for a path that does not fit. */
export function writeTar(files: readonly WrittenFile[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const { path, content } of files) {
    const padding = (blockSize - (content.length % blockSize)) % blockSize;
    parts.push(headerOf(path, content.length), content, Buffer.alloc(padding));
  }
  parts.push(Buffer.alloc(2 * blockSize));
  return Buffer.concat(parts);
}

function headerOf(path: string, size: number): Buffer {
  const block = Buffer.alloc(blockSize);
  const [prefix, name] = split(path);
  block.write(name, 0);
  block.write('0000644\0', 100, 'latin1');
  block.write('0000000\0', 108, 'latin1');
  block.write('0000000\0', 116, 'latin1');
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  block.write('00000000000\0', 136, 'latin1');
  block.write('0', 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(prefix, 345);
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** At a slash, so that both parts fit. */
function split(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ['', path];
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (Buffer.byteLength(name) <= 100 && Buffer.byteLength(prefix) <= 155) return [prefix, name];
  }
  throw new HelvinoError('INTERNAL', `the path ${path} is too long for a tar archive`);
}
