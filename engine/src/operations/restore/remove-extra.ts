/** Removes what is in the directory but not in the backup. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { markerName } from './marker.ts';
import type { RestoreIndex } from './restore-index.ts';
import { targetError } from './target.ts';

/** Returns how many entries were removed. Links are not followed, except those of tablespaces. */
export async function removeExtra(directory: string, index: RestoreIndex): Promise<number> {
  const keep = new Set([markerName, 'global/pg_control.helvino']);
  return clean(directory, '', { index, keep });
}

/**
 * A tablespace's folder belongs to its user, who may have more there: lost+found of its disk, another tablespace, clusters of
 * other major versions. Only below its PG_ folder is all of it the cluster's.
 */
function isOthers(prefix: string): boolean {
  return /^pg_tblspc\/\d+$/.test(prefix);
}

async function clean(
  directory: string,
  prefix: string,
  context: { index: RestoreIndex; keep: ReadonlySet<string> },
): Promise<number> {
  let removed = 0;
  const here = join(directory, prefix);
  for (const entry of await readdir(here, { withFileTypes: true })) {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (context.keep.has(path)) continue;
    if (!context.index.has(path)) {
      if (isOthers(prefix)) continue;
      await rm(join(directory, path), { recursive: true, force: true }).catch((thrown: unknown) => {
        throw targetError(thrown, join(directory, path));
      });
      removed++;
    } else if (entry.isDirectory() || (entry.isSymbolicLink() && prefix === 'pg_tblspc')) {
      removed += await clean(directory, path, context);
    }
  }
  return removed;
}
