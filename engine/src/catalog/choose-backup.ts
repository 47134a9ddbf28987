/** Which backup a user means. Pure. */
import { HelvinoError } from '../base/errors.ts';

interface Named {
  readonly id: string;
}

/** `wanted`: `latest`, an id, or a prefix of an id that only one backup has. `names` in order of time. */
export function chooseBackup<T extends Named>(names: readonly T[], wanted: string, database: string): T {
  if (names.length === 0) {
    throw new HelvinoError('BACKUP_NOT_FOUND', `there is no backup of ${database}`, {
      hint: 'make one with `helvino backup`',
    });
  }
  if (wanted === 'latest') return names.at(-1)!;
  const exact = names.find((name) => name.id === wanted);
  if (exact) return exact;
  const matches = names.filter(
    (name) => name.id.startsWith(wanted) || name.id.split('-')[1]?.startsWith(wanted),
  );
  if (matches.length === 1) return matches[0]!;
  throw new HelvinoError(
    'BACKUP_NOT_FOUND',
    matches.length === 0
      ? `no backup of ${database} is called "${wanted}"`
      : `"${wanted}" is the beginning of ${matches.length} backups of ${database}: ${matches.map((m) => m.id).join(', ')}`,
    { hint: '`helvino list` shows the backups; `latest` is the newest' },
  );
}
