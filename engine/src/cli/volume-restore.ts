/** `helvino restore --to-volume`: its options, and what it prints. */
import { formatBytes, formatDuration } from '../base/format.ts';
import { parseDuration } from '../config/index.ts';
import { planRestoreVolume, restoreVolume } from '../operations/volume/index.ts';
import type { CliContext } from './context.ts';
import { chosenManifest, neededIdentities, openToRead } from './open.ts';
import { thawFirst } from './thaw.ts';
import { type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const toVolumeOptions: readonly VerbOption[] = [
  { flags: '--to-volume <name>', description: 'restore a Docker volume: the new volume that it becomes' },
  {
    flags: '--image <name>',
    description:
      'volume: the image to start PostgreSQL on it with, as a check (default: the one that used it)',
  },
  { flags: '--no-start', description: 'volume: do not start PostgreSQL on it' },
  {
    flags: '--ready-timeout <duration>',
    description: 'volume: how long PostgreSQL may take',
    default: '10min',
  },
];

export async function restoreToVolume(
  context: CliContext,
  options: OptionValues,
  wanted: string | undefined,
): Promise<VerbResult> {
  const access = await openToRead(context, options);
  const identities = access.identities ?? (await neededIdentities(context, options));
  const manifest = await chosenManifest({ ...access, identities }, wanted, 'volume');
  const request = {
    repository: access.repository,
    identities,
    manifest,
    volume: textOption(options, 'toVolume')!,
    engine: access.chosen?.database.volume.engine,
    image: textOption(options, 'image'),
    start: options.start !== false,
    readyTimeoutMs: parseDuration(textOption(options, 'readyTimeout') ?? '10min') * 1000,
    env: context.env,
    clock: context.clock,
    progress: context.progress,
    signal: context.signal,
  };
  const { facts } = await planRestoreVolume(request);
  const what = `backup ${manifest.id} of the volume ${facts.volume} (${formatBytes(manifest.totals.bytes)}) into the new volume ${request.volume}`;
  if (options.dryRun)
    return {
      data: { backup: manifest.id, volume: request.volume, source: facts },
      text: [`would restore ${what}`, 'nothing was done'],
    };
  const thawed = await thawFirst(context, options, { access, manifest });
  const result = await restoreVolume(request);
  return {
    data: { backup: manifest.id, ...result, thaw: thawed?.data },
    text: [
      ...(thawed?.text ?? []),
      `restored ${what} in ${formatDuration(result.seconds)}`,
      ...result.checks.map((check) => `  ${check.state}: ${check.name}: ${check.detail}`),
    ],
  };
}
