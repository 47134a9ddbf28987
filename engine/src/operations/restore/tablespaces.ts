/** Where tablespaces go: where they were, or where the user says. */
import { readlink, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import { listing, targetError } from './target.ts';

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
 * Throws USAGE when two tablespaces would share a folder, or one would be in the data directory or around it: their files
 * would take each other's place, and `--delta` removes from the data directory what the backup does not have there.
 */
export async function assertApart(
  directory: string,
  tablespaces: readonly TablespaceTarget[],
): Promise<void> {
  const hint = (oid: string) => `give it a place of its own with --tablespace ${oid}=FOLDER`;
  const data = await realPlace(directory);
  const places = new Map<string, TablespaceTarget>();
  for (const tablespace of tablespaces) {
    const { oid, to } = tablespace;
    const place = await realPlace(to);
    const other = places.get(place);
    if (other)
      throw new HelvinoError('USAGE', `the tablespaces ${other.oid} and ${oid} would both be in ${to}`, {
        hint: hint(oid),
        context: { place, tablespaces: [other.oid, oid] },
      });
    places.set(place, tablespace);
    if (!isWithin(place, data) && !isWithin(data, place)) continue;
    const how = place === data ? 'be' : isWithin(place, data) ? 'be in' : 'be around';
    throw new HelvinoError(
      'USAGE',
      `the tablespace ${oid} at ${to} would ${how} the data directory ${directory}`,
      {
        hint: hint(oid),
        context: { place, directory: data, oid },
      },
    );
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** Without links, also of what is not there yet. */
async function realPlace(path: string): Promise<string> {
  const whole = resolve(path);
  try {
    return await realpath(whole);
  } catch (thrown) {
    if (systemCode(thrown) !== 'ENOENT') throw targetError(thrown, path);
    return join(await realPlace(dirname(whole)), basename(whole));
  }
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
