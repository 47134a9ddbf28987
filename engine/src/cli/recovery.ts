/** The options that say how far to recover, which `restore`, `open` and `drill` share. */
import { HelvinoError } from '../base/errors.ts';
import { findRecovery, parseTarget, type Recovery } from '../operations/restore/index.ts';
import { rivalChoices } from '../operations/wal/index.ts';
import { formatLsn } from '../postgres/index.ts';
import type { Identities } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { neededDatabase, type ReadAccess } from './open.ts';
import { type OptionValues, textOption, type VerbOption } from './verb.ts';

export const recoveryOptions: readonly VerbOption[] = [
  {
    flags: '--to <target>',
    description:
      'how far to recover: backup (the default: the end of the backup), latest, a time with its zone, "10 minutes ago", an LSN, xid:N, name:POINT; before: or after: in front of these says whether what is there counts (before:xid:N)',
  },
  { flags: '--timeline <number>', description: 'the timeline to recover along (default: the newest)' },
];

export interface RecoveryRequest {
  readonly access: ReadAccess & { readonly identities: Identities };
  /** The backup that was named, if one was. */
  readonly wanted: string | undefined;
}

/** Undefined: recover to the backup's own end. Throws USAGE, TARGET_UNREACHABLE, TARGET_AMBIGUOUS. */
export async function recoveryOf(
  context: CliContext,
  options: OptionValues,
  { access, wanted }: RecoveryRequest,
): Promise<Recovery | undefined> {
  const target = parseTarget(textOption(options, 'to') ?? 'backup', context.clock.now());
  const timeline = textOption(options, 'timeline');
  if (timeline !== undefined && !/^\d{1,9}$/.test(timeline))
    throw new HelvinoError('USAGE', `"${timeline}" is not a timeline`);
  if (target.kind === 'backup') {
    if (timeline === undefined) return undefined;
    throw new HelvinoError('USAGE', `--timeline ${timeline} was given, and no --to`, {
      hint: 'a backup ends on the timeline on which it was made; --to latest --timeline N recovers along another',
    });
  }
  if (wanted !== undefined) {
    throw new HelvinoError('USAGE', 'a backup and --to were given', {
      hint: 'with --to the right backup is chosen by its end',
    });
  }
  context.progress.phase('looking for the recovery target');
  const recovery = await findRecovery({
    ...access,
    database: neededDatabase(access),
    target,
    timeline: timeline === undefined ? undefined : Number(timeline),
    signal: context.signal,
  });
  tellRivals(context, recovery);
  if (target.kind === 'latest' && recovery.target.cut !== undefined)
    context.progress.note(
      'warn',
      `this is not the newest that is stored: it is ${recovery.target.description}`,
    );
  return recovery;
}

/** For machines. */
export function recoveryData(recovery: Recovery | undefined) {
  if (!recovery) return undefined;
  const { end, path, description, cut, rivals } = recovery.target;
  return { end: formatLsn(end), timeline: path.at(-1)!.timeline, description, cut, rivals };
}

/** The newest timeline was taken; the server that counts may be on another. */
export function tellRivals({ progress }: Pick<CliContext, 'progress'>, { target }: Recovery): void {
  if (target.rivals.length === 0) return;
  const chosen = target.path.at(-1)!.timeline;
  const others = rivalChoices(target.rivals);
  progress.note('warn', `this is along timeline ${chosen}; stored is also ${others.join(', and ')}`);
}
