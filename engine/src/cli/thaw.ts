/** Getting a backup back from an archive class: options and words of the verbs that do. */
import { HelvinoError } from '../base/errors.ts';
import { formatDuration, plural } from '../base/format.ts';
import { parseDuration } from '../config/index.ts';
import { openArchive, parsePlace, surroundingsOf } from '../operations/index.ts';
import { thawBackup } from '../operations/lifecycle/index.ts';
import type { Manifest } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import type { ReadAccess } from './open.ts';
import { type OptionValues, textOption, type VerbOption } from './verb.ts';

export const thawOptions: readonly VerbOption[] = [
  {
    flags: '--thaw-tier <tier>',
    description: 'how fast an archive class gives it back, and how dear',
    choices: ['bulk', 'standard', 'expedited'],
    default: 'standard',
  },
  { flags: '--thaw-days <days>', description: 'how long it can be read then', default: '7' },
  { flags: '--thaw-poll <duration>', description: 'how often to look whether it has come', default: '1min' },
];

/** Of verbs that read a backup. */
export const thawFirstOptions: readonly VerbOption[] = [
  { flags: '--thaw', description: 'first get what is in an archive class back, and wait for it' },
  ...thawOptions,
];

interface Thawed {
  readonly data: { readonly thawed: number; readonly seconds: number };
  readonly text: string[];
}

/** With --thaw; never with --dry-run, for it costs money. */
export async function thawFirst(
  context: CliContext,
  options: OptionValues,
  what: { readonly access: ReadAccess; readonly manifest: Manifest },
): Promise<Thawed | undefined> {
  return options.thaw === true && options.dryRun !== true ? thaw(context, options, what) : undefined;
}

const tiers = { bulk: 'Bulk', standard: 'Standard', expedited: 'Expedited' } as const;

/** Waits until every pack of the backup can be read; says how long it took. */
export async function thaw(
  context: CliContext,
  options: OptionValues,
  { access, manifest }: { access: ReadAccess; manifest: Manifest },
): Promise<Thawed> {
  const days = Number(textOption(options, 'thawDays') ?? '7');
  if (!Number.isInteger(days) || days < 1)
    throw new HelvinoError('USAGE', `--thaw-days ${textOption(options, 'thawDays')} is not a number of days`);
  const place = textOption(options, 'repositoryPath');
  const storage = place === undefined ? access.chosen!.repository.storage : parsePlace(place);
  const surroundings = access.loaded
    ? surroundingsOf(access.loaded, context.env)
    : { env: context.env, directory: context.cwd };
  const archive = await openArchive(storage, surroundings);
  try {
    const data = await thawBackup({
      archive,
      manifest,
      tier: tiers[(textOption(options, 'thawTier') ?? 'standard') as keyof typeof tiers],
      days,
      pollMs: parseDuration(textOption(options, 'thawPoll') ?? '1min') * 1000,
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    });
    const text =
      data.thawed === 0
        ? `every pack of ${manifest.id} can be read: nothing is in an archive class`
        : `${plural(data.thawed, 'pack')} of ${manifest.id} came back from the archive in ${formatDuration(data.seconds)}; they can be read for ${plural(days, 'day')}`;
    return { data, text: [text] };
  } finally {
    archive.close();
  }
}
