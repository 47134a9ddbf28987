/** Where tablespaces go: where they were, or where the user says. */
import { readlink } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import { listing } from './target.ts';

export interface TablespaceTarget {
  readonly oid: string;
  readonly from: string;
  readonly to: string;
}

/** `mapping`: old location or oid to new location; `*` maps every tablespace to `<value>/<oid>`. */
export function mapTablespaces(
  tablespaces: readonly { oid: string; location: string }[],
  mapping: ReadonlyMap<string, string>,
): TablespaceTarget[] {
  const used = new Set<string>();
  const result = tablespaces.map(({ oid, location }) => {
    const key = [location, oid].find((candidate) => mapping.has(candidate));
    if (key !== undefined) used.add(key);
    const all = mapping.get('*');
    const to = key !== undefined ? mapping.get(key)! : all !== undefined ? `${all}/${oid}` : location;
    if (!isAbsolute(to))
      throw new HelvinoError('USAGE', `the tablespace location "${to}" is not an absolute path`);
    return { oid, from: location, to };
  });
  for (const key of mapping.keys()) {
    if (key === '*' || used.has(key)) continue;
    const known = tablespaces.map((t) => `${t.location} (${t.oid})`).join(', ') || 'none';
    throw new HelvinoError('USAGE', `the backup has no tablespace "${key}"`, {
      hint: `its tablespaces: ${known}`,
    });
  }
  return result;
}

/**
 * Throws TARGET_NOT_EMPTY unless the place is empty or the directory's own link leads there. Restoring over a copy must
 * not reach the tablespaces of the server that the copy is of.
 */
export async function assertOwnPlace(directory: string, { oid, to }: TablespaceTarget): Promise<void> {
  const link = await readlink(join(directory, 'pg_tblspc', oid)).catch(() => undefined);
  if (link !== undefined && resolve(link) === resolve(to)) return;
  const names = await listing(to);
  if (names.length === 0) return;
  throw new HelvinoError('TARGET_NOT_EMPTY', `the tablespace location ${to} is not empty`, {
    hint: `another server may use it; give an empty place with --tablespace ${oid}=FOLDER${link === undefined ? '' : `, or ${link}, where the tablespace is now`}`,
    context: { oid, location: to, now: link },
  });
}
