/** Getting a backup back from an archive class before it is restored: ask for all its packs, then wait until they can be read. */
import type { Clock } from '../../base/clock.ts';
import { plural } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import { type Manifest, packName } from '../../repository/index.ts';
import type { S3Archive, ThawTier } from '../../storage/index.ts';
import { mapParallel } from '../../streams/index.ts';

export interface ThawOptions {
  readonly archive: S3Archive;
  readonly manifest: Manifest;
  readonly tier: ThawTier;
  /** How long the packs can be read then. */
  readonly days: number;
  /** How often it is looked whether they have come. */
  readonly pollMs: number;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

const atOnce = 16;

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html */
const usual: Readonly<Record<ThawTier, string>> = {
  Expedited: 'minutes from GLACIER; DEEP_ARCHIVE has no such tier',
  Standard: '3 to 5 hours from GLACIER, up to 12 from DEEP_ARCHIVE',
  Bulk: '5 to 12 hours from GLACIER, up to 48 from DEEP_ARCHIVE',
};

/** Returns how many packs had to be asked for. Goes on where it was stopped when it is called again. */
export async function thawBackup(options: ThawOptions): Promise<{ thawed: number; seconds: number }> {
  const { archive, manifest, tier, days, progress, clock, signal } = options;
  const begun = clock.monotonic();
  progress.phase('looking for archived packs', manifest.packs.length, 'items');
  let waiting: string[] = [];
  for await (const name of mapParallel(manifest.packs, atOnce, async ({ id }) => {
    const { state } = await archive.stateOf(packName(id));
    if (state === 'archived') await archive.thaw(packName(id), { days, tier });
    progress.advance(1);
    return state === 'readable' ? undefined : packName(id);
  })) {
    signal.throwIfAborted();
    if (name !== undefined) waiting.push(name);
  }
  const thawed = waiting.length;
  if (thawed === 0) return { thawed, seconds: 0 };
  progress.note('info', `${plural(thawed, 'pack')} asked for, ${tier} tier: usually ${usual[tier]}`);
  progress.phase('waiting for the archive', thawed, 'items');
  while (waiting.length > 0) {
    await clock.sleep(options.pollMs, signal);
    const still: string[] = [];
    for await (const name of mapParallel(waiting, atOnce, async (pack) =>
      (await archive.stateOf(pack)).state === 'readable' ? undefined : pack,
    ))
      if (name !== undefined) still.push(name);
    progress.advance(waiting.length - still.length);
    waiting = still;
  }
  return { thawed, seconds: (clock.monotonic() - begun) / 1000 };
}
