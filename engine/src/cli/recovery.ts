/** The options that say how far to recover, which `restore`, `open` and `drill` share. */
import { HelvinoError } from '../base/errors.ts';
import { findRecovery, parseTarget, type Recovery } from '../operations/restore/index.ts';
import { rivalChoices } from '../operations/wal/index.ts';
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
  if (target.kind === 'backup') return undefined;
  if (wanted !== undefined) {
    throw new HelvinoError('USAGE', 'a backup and --to were given', {
      hint: 'with --to the right backup is chosen by its end',
    });
  }
  const timeline = textOption(options, 'timeline');
  if (timeline !== undefined && !/^\d{1,9}$/.test(timeline))
    throw new HelvinoError('USAGE', `"${timeline}" is not a timeline`);
  context.progress.phase('looking for the recovery target');
  const recovery = await findRecovery({
    ...access,
    database: neededDatabase(access),
    target,
    timeline: timeline === undefined ? undefined : Number(timeline),
    signal: context.signal,
  });
  tellRivals(context, recovery);
  return recovery;
}

/** The newest timeline was taken; the server that counts may be on another. */
export function tellRivals({ progress }: Pick<CliContext, 'progress'>, { target }: Recovery): void {
  if (target.rivals.length === 0) return;
  const chosen = target.path.at(-1)!.timeline;
  const others = rivalChoices(target.rivals);
  progress.note('warn', `this is along timeline ${chosen}; stored is also ${others.join(', and ')}`);
}
