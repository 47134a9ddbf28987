/** `helvino backup --kind volume`: its options, and what it prints. */
import { HelvinoError } from '../base/errors.ts';
import { formatBytes, formatDuration, plural } from '../base/format.ts';
import { volumeFacts } from '../catalog/index.ts';
import { recordRun } from '../operations/runs/index.ts';
import type { Manifest } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { openAsHost } from './open.ts';
import { facts } from './output/table.ts';
import { streamBackupResult } from './stream-backup-result.ts';
import { type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const volumeOptions: readonly VerbOption[] = [
  { flags: '--volume <name>', description: 'volume: its name (default: volume.name in the configuration)' },
  {
    flags: '--no-stop',
    description: 'volume: leave the containers that use it running; the copy may then not be consistent',
  },
];

export async function runVolumeBackup(
  context: CliContext,
  options: OptionValues,
  notes: Readonly<Record<string, string>>,
): Promise<VerbResult> {
  const host = await openAsHost(context, options, { everywhere: true });
  const settings = host.database.volume;
  const volume = textOption(options, 'volume') ?? settings.name;
  if (volume === undefined)
    throw new HelvinoError('USAGE', 'no volume was named', {
      hint: '--volume NAME, or volume.name in helvino.yaml; `docker volume ls` lists them',
    });
  // A physical backup, which is the usual one, starts without it.
  const { volumeBackup } = await import('../operations/volume/index.ts');
  const begun = context.clock.monotonic();
  const record = {
    ...context,
    repository: host.repositoryHandle,
    database: host.name,
    kind: 'volume' as const,
  };
  const manifest = await recordRun(record, async (run) =>
    volumeBackup({
      run,
      repository: host.repositoryHandle,
      recipients: host.repository.recipients,
      database: host.name,
      volume,
      engine: settings.engine,
      stop: options.stop !== false && settings.stop,
      stopTimeout: Math.ceil(settings.stopTimeout),
      label: textOption(options, 'label'),
      notes,
      level: host.repository.compression.level,
      program: context.program,
      env: context.env,
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    }),
  );
  return streamBackupResult(context, host, { kind: 'volume', manifest, begun, text });
}

function text(manifest: Manifest, seconds: number): string[] {
  const { volume, postgres, quiet, entries } = volumeFacts(manifest);
  const { totals } = manifest;
  return [
    `backup ${manifest.id} of the volume ${volume} is complete`,
    ...facts([
      [
        'holds',
        `${plural(entries, 'entry', 'entries')}${postgres ? `, PostgreSQL ${postgres.major} in ${postgres.path}` : ''}`,
      ],
      [
        'written to',
        quiet ? 'by nobody while it was read' : 'perhaps, while it was read: it may not be consistent',
      ],
      ['stored', `${formatBytes(totals.stored)} of ${formatBytes(totals.bytes)}`],
      ['took', formatDuration(seconds)],
    ]).map((line) => `  ${line}`),
    'It is stored and was read back. That it restores is unproven until `helvino drill --kind volume`.',
  ];
}
