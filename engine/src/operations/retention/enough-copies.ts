/** `retention.minimumCopies`: nothing is removed while the newest backups are not whole in so many copies of the repository. */
import { asHelvinoError } from '../../base/errors.ts';
import { plural } from '../../base/format.ts';
import type { Repository } from '../../repository/index.ts';
import { type DatabaseState, type KnownBackup, unknownKind } from './read-state.ts';

export interface OtherCopy {
  readonly name: string;
  readonly open: () => Promise<Repository>;
}

/** By kind, why there are too few. Copies are opened only if more than one is wanted. */
export async function tooFewCopies(
  { backups, database }: DatabaseState,
  wanted: { readonly copies: number; readonly minimumOf: (kind: string) => number },
  others: readonly OtherCopy[],
): Promise<Map<string, string>> {
  const trouble = new Map<string, string>();
  if (wanted.copies <= 1) return trouble;
  const kinds = new Set(backups.map(({ kind }) => kind).filter((kind) => kind !== unknownKind));
  const opened = await Promise.all(others.map((copy) => openCopy(copy, database)));
  for (const kind of kinds) {
    const good = backups.filter((backup) => backup.kind === kind && backup.state === 'good');
    const newest = good.slice(-wanted.minimumOf(kind));
    const lacks = await Promise.all(opened.map((copy) => lackOf(copy, newest)));
    // The copy that is planned for has them: it is where they were read.
    const whole = 1 + lacks.filter((lack) => lack === undefined).length;
    if (whole >= wanted.copies) continue;
    const why = lacks.filter((lack) => lack !== undefined).join(', ') || 'there are no more copies';
    trouble.set(
      kind,
      `the newest ${plural(newest.length, 'backup')} are whole in ${plural(whole, 'copy', 'copies')}, retention.minimumCopies is ${wanted.copies}: ${why}`,
    );
  }
  return trouble;
}

type OpenedCopy = { readonly name: string } & (
  | { readonly repository: Repository; readonly ids: ReadonlySet<string> }
  | { readonly repository: undefined; readonly why: string }
);

async function openCopy({ name, open }: OtherCopy, database: string): Promise<OpenedCopy> {
  try {
    const repository = await open();
    const ids = new Set((await repository.backups(database)).map(({ id }) => id));
    return { name, repository, ids };
  } catch (thrown) {
    return { name, repository: undefined, why: asHelvinoError(thrown).message };
  }
}

/** Undefined when it has all. */
async function lackOf(copy: OpenedCopy, newest: readonly KnownBackup[]): Promise<string | undefined> {
  if (copy.repository === undefined) return `${copy.name} cannot be looked at: ${copy.why}`;
  const { name, repository, ids } = copy;
  const lacking = newest.find(({ id }) => !ids.has(id));
  if (lacking) return `${name} lacks ${lacking.id}`;
  try {
    for (const { id, packs } of newest) {
      const missing = await repository.missingPacks({ packs: packs.named() });
      if (missing.length > 0) return `${name} lacks ${plural(missing.length, 'object')} of ${id}`;
    }
    return undefined;
  } catch (thrown) {
    return `${name} cannot be looked at: ${asHelvinoError(thrown).message}`;
  }
}
