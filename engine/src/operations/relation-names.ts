/** Names files of a backup for people: the path, and the table that it belongs to. */
import type { Manifest, Repository } from '../repository/index.ts';

interface NamedFile {
  readonly path: string;
  readonly database: string;
  readonly schema: string;
  readonly table: string;
}

/** Which table each file belongs to, for those of `paths` that belong to one. `paths` as in the backup. */
export async function tablesOf(
  repository: Repository,
  manifest: Manifest,
  paths: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const wanted = new Set([...paths].map(relationFile));
  const tables = new Map<string, string>();
  for await (const value of repository.section(manifest, 'relations')) {
    const file = value as NamedFile;
    if (wanted.has(file.path)) tables.set(file.path, `${file.database}: ${file.schema}.${file.table}`);
  }
  const found = new Map<string, string>();
  for (const path of paths) {
    const table = tables.get(relationFile(path));
    if (table !== undefined) found.set(path, table);
  }
  return found;
}

/** `base/5/16384.3` and `base/5/16384_vm` are parts of `base/5/16384`. */
function relationFile(path: string): string {
  return path.replace(/(\/\d+)(_(fsm|vm|init))?(\.\d+)?$/, '$1');
}

export async function describeFiles(
  repository: Repository,
  manifest: Manifest,
  paths: readonly string[],
): Promise<string> {
  const tables = await tablesOf(repository, manifest, new Set(paths)).catch(() => new Map<string, string>());
  const shown = paths.slice(0, 5).map((path) => (tables.has(path) ? `${path} (${tables.get(path)})` : path));
  if (paths.length > 5) shown.push(`${paths.length - 5} more`);
  return shown.join(', ');
}
