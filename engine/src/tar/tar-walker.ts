/**
 * Looks into a tar archive of any maker (GNU, PAX) as it passes by, and checks that it is whole: every header's checksum, every
 * size, and the end mark. What a program that broke off has sent is no archive. Synchronous; content goes by as views.
 * https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
 */
import { parsePaxRecords } from './pax-records.ts';
import { blockSize, checksum, headerNumber, headerText, malformed } from './tar-header.ts';

export interface WalkedEntry {
  /** As it is written in the archive. */
  readonly path: string;
  /** The type flag: `0` file, `1` hard link, `2` symlink, `5` directory … */
  readonly type: string;
  /** Bytes of content that follow. */
  readonly size: number;
  readonly linkTarget: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface WalkHandler {
  entry(entry: WalkedEntry): void;
  /** Content of the entry at hand; valid during the call only. */
  data(bytes: Uint8Array): void;
}

/** Headers that describe the next one; their content is gathered. */
const describing = new Set(['x', 'g', 'L', 'K']);
const longestDescription = 1 << 20;

export class TarWalker {
  entries = 0;
  readonly #handler: WalkHandler;
  readonly #header = new Uint8Array(blockSize);
  #filled = 0;
  #offset = 0;
  #left = 0;
  #padding = 0;
  #zeroBlocks = 0;
  /** The kind of description that is being read, and its bytes so far. */
  #describing: { readonly type: string; readonly pieces: Uint8Array[] } | undefined;
  /** What descriptions have said of the next entry. */
  #next: { path?: string; size?: number; linkTarget?: string; uid?: number; gid?: number } = {};

  constructor(handler: WalkHandler) {
    this.#handler = handler;
  }

  /** Throws PROTOCOL. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const count = this.#step(bytes.subarray(at));
      at += count;
      this.#offset += count;
    }
  }

  /** Throws PROTOCOL when the end mark, two blocks of zeroes, is missing. */
  end(): void {
    if (this.#left > 0)
      throw malformed(this.#offset, `it ends ${this.#left} bytes before the end of an entry`);
    if (this.#filled > 0 || this.#zeroBlocks < 2)
      throw malformed(this.#offset, 'it breaks off: there is no end mark');
  }

  #step(bytes: Uint8Array): number {
    if (this.#left > 0) {
      const piece = bytes.subarray(0, this.#left);
      this.#left -= piece.length;
      if (this.#describing) this.#describing.pieces.push(Uint8Array.from(piece));
      else this.#handler.data(piece);
      if (this.#left === 0) this.#described();
      return piece.length;
    }
    if (this.#padding > 0) {
      const count = Math.min(this.#padding, bytes.length);
      this.#padding -= count;
      return count;
    }
    const part = bytes.subarray(0, blockSize - this.#filled);
    this.#header.set(part, this.#filled);
    this.#filled += part.length;
    if (this.#filled === blockSize) {
      this.#filled = 0;
      this.#block(this.#header);
    }
    return part.length;
  }

  #block(block: Uint8Array): void {
    const at = this.#offset;
    if (block.every((byte) => byte === 0)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks > 0) throw malformed(at, 'bytes after the end of the archive');
    if (headerNumber(block, { from: 148, length: 8, name: 'checksum', at }) !== checksum(block))
      throw malformed(at, 'the header checksum is wrong');
    const type = String.fromCharCode(block[156]!).replace('\0', '0');
    const written = headerNumber(block, { from: 124, length: 12, name: 'size', at });
    if (describing.has(type)) {
      if (written > longestDescription) throw malformed(at, `a description of ${written} bytes`);
      this.#describing = { type, pieces: [] };
      this.#content(written);
      if (written === 0) this.#described();
      return;
    }
    const field = (name: string, from: number) => headerNumber(block, { from, length: 8, name, at });
    const { path = headerPath(block, at), size = written, linkTarget } = this.#next;
    const { uid = field('uid', 108), gid = field('gid', 116) } = this.#next;
    this.#next = {};
    this.entries++;
    // Links and folders may tell a size, but have no content.
    const content = type === '0' || type === '7' ? size : 0;
    const link = linkTarget ?? headerText(block, { from: 157, length: 100, name: 'link target', at });
    this.#handler.entry({ path, type, size: content, linkTarget: link, mode: field('mode', 100), uid, gid });
    this.#content(content);
  }

  #content(size: number): void {
    this.#left = size;
    this.#padding = (blockSize - (size % blockSize)) % blockSize;
  }

  #described(): void {
    const description = this.#describing;
    this.#describing = undefined;
    if (description === undefined) return;
    const bytes = Buffer.concat(description.pieces);
    if (description.type === 'L') this.#next.path = bytes.toString('utf8').replace(/\0.*$/s, '');
    else if (description.type === 'K') this.#next.linkTarget = bytes.toString('utf8').replace(/\0.*$/s, '');
    else if (description.type === 'x') {
      const records = parsePaxRecords(bytes, this.#offset);
      const [path, linkTarget] = [records.get('path'), records.get('linkpath')];
      if (path !== undefined) this.#next.path = path;
      if (linkTarget !== undefined) this.#next.linkTarget = linkTarget;
      for (const name of ['size', 'uid', 'gid'] as const)
        if (records.has(name)) this.#next[name] = Number(records.get(name));
    }
  }
}

function headerPath(block: Uint8Array, at: number): string {
  const name = headerText(block, { from: 0, length: 100, name: 'name', at });
  const ustar = block[257] === 0x75 && block[262] === 0;
  const prefix = ustar ? headerText(block, { from: 345, length: 155, name: 'prefix', at }) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}
