/** What is in the archive of a volume, gathered as it passes by: is it whole, what is it, where is PostgreSQL in it. */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { TarWalker, type WalkedEntry } from '../../tar/index.ts';

export interface ArchiveFacts {
  readonly entries: number;
  /** SHA-256 of names, types, owners, modes, links and content in order: equal for equal volumes, whenever they were read. */
  readonly digest: string;
  readonly postgres: { readonly path: string; readonly major: number } | undefined;
  /** Symbolic links in PostgreSQL's data directory: what they lead to is not in the volume. */
  readonly links: readonly string[];
}

const longestVersion = 32;

/** All names in the archive begin with this folder: the root of the volume, whose owner and mode are stored so, too. */
export const archiveRoot = 'volume';

export class VolumeArchive {
  readonly #walker: TarWalker;
  readonly #hash = createHash('sha256');
  readonly #versions = new Map<string, string>();
  readonly #controls = new Set<string>();
  readonly #links: string[] = [];
  #open: { readonly path: string; version: string } | undefined;

  constructor() {
    this.#walker = new TarWalker({
      entry: (entry) => this.#entry(entry),
      data: (bytes) => this.#data(bytes),
    });
  }

  /** Throws PROTOCOL. */
  push(bytes: Uint8Array): void {
    this.#walker.push(bytes);
  }

  /** Throws PROTOCOL when the archive is not whole. */
  end(): ArchiveFacts {
    this.#walker.end();
    const folders = [...this.#versions.keys()].filter((folder) => this.#controls.has(folder));
    const [path] = folders.sort((a, b) => a.length - b.length);
    const postgres =
      path === undefined ? undefined : { path, major: Number.parseInt(this.#versions.get(path)!, 10) };
    const inside = path === undefined || path === '.' ? '' : `${path}/`;
    return {
      entries: this.#walker.entries,
      digest: this.#hash.digest('hex'),
      postgres: postgres && Number.isInteger(postgres.major) ? postgres : undefined,
      links: postgres === undefined ? [] : this.#links.filter((link) => link.startsWith(inside)),
    };
  }

  #entry(entry: WalkedEntry): void {
    const path = posix.relative(archiveRoot, posix.normalize(entry.path).replace(/\/$/, '')) || '.';
    const { type, linkTarget, size, mode, uid, gid } = entry;
    this.#hash.update(`${JSON.stringify([path, type, linkTarget, size, mode, uid, gid])}\n`);
    this.#open = undefined;
    if (type === '2') this.#links.push(path);
    const folder = posix.dirname(path);
    if (path.endsWith('global/pg_control')) this.#controls.add(posix.dirname(folder));
    if (posix.basename(path) === 'PG_VERSION' && size <= longestVersion)
      this.#open = { path: folder, version: '' };
  }

  #data(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    if (this.#open === undefined) return;
    this.#open.version += Buffer.from(bytes).toString('latin1');
    this.#versions.set(this.#open.path, this.#open.version);
  }
}
