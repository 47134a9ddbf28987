import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, formatDuration } from '../../base/format.ts';
import { type BackupFacts, backupFacts } from '../../catalog/index.ts';
import { parseSize } from '../../config/index.ts';
import { backup } from '../../operations/backup/index.ts';
import { recordRun } from '../../operations/runs/index.ts';
import { assertPlainLabel } from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { copiesExit, copiesText } from '../copies.ts';
import { logicalOptions, runLogicalBackup } from '../logical-backup.ts';
import { databaseOption, openAsHost } from '../open.ts';
import { facts } from '../output/table.ts';
import { listOption, type OptionValues, textOption, type Verb } from '../verb.ts';
import { runVolumeBackup, volumeOptions } from '../volume-backup.ts';

export const backupVerb: Verb = {
  name: 'backup',
  summary: 'take a backup: physical (the default), a dump, or a Docker volume',
  details: [
    'Stores only what changed since the newest backup, if there is one; every backup restores alone. The backup is of the whole',
    'PostgreSQL cluster, with the WAL that it needs.',
    'With --kind logical pg_dump of the same major version dumps each database, with roles and tablespaces; the row counts and hashes',
    'of the very same snapshot are stored with it. What pg_dump did not end well is no backup.',
    'With --kind volume the containers that use the volume are stopped while it is read, and started again.',
  ],
  options: [
    databaseOption,
    {
      flags: '--kind <kind>',
      description:
        'physical: the files of the cluster, with the WAL that they need; logical: dumps; volume: a named volume of a Docker engine',
      choices: ['physical', 'logical', 'volume'],
      default: 'physical',
    },
    ...logicalOptions,
    ...volumeOptions,
    { flags: '--full', description: 'read and store everything, building on nothing' },
    { flags: '--incremental', description: 'fail if there is no backup to build on' },
    { flags: '--label <text>', description: 'a label (of a physical backup also written to backup_label)' },
    { flags: '--note <key=value...>', description: 'annotations, e.g. --note version=1.4.2' },
    {
      flags: '--checkpoint <kind>',
      description: 'fast: at once; spread: gently',
      choices: ['fast', 'spread'],
    },
    { flags: '--max-rate <rate>', description: 'the most bytes a second to take, e.g. "50 MiB"' },
    {
      flags: '--read <how>',
      description:
        'replication: the server sends its files; files: they are read from its disk, which is faster, on its machine; auto: as can be',
      choices: ['auto', 'replication', 'files'],
    },
    { flags: '--no-verify-checksums', description: 'go on although pages of the source are damaged' },
    {
      flags: '--fingerprint <mode>',
      description: 'what to record of the tables for drills',
      choices: ['auto', 'full', 'counts', 'off'],
    },
    {
      flags: '--new-cluster',
      description: 'the database is a new cluster from now on (after initdb or pg_upgrade)',
    },
  ],
  exits: [{ status: 1, meaning: 'the backup is complete, but a copy was left behind' }],
  examples: [
    'helvino backup',
    'helvino backup --full --label pre-deploy --note version=1.4.2',
    'helvino backup --kind logical --format directory --jobs 4',
    'helvino backup --kind logical --to-folder /var/backups/helvino/postgres --gpg-recipient ops@helvion.io --keep-days 30',
  ],
  async run(context, options) {
    const notes = notesOf(options);
    assertKind(options);
    if (options.full && options.incremental)
      throw new HelvinoError('USAGE', '--full and --incremental do not go together', {
        hint: 'leave one of them out; without both it is incremental where there is a backup to build on',
      });
    // Before anything is begun, and the same for every kind.
    assertPlainLabel(textOption(options, 'label') ?? '');
    if (options.kind === 'logical') return runLogicalBackup(context, options, notes);
    if (options.kind === 'volume') return runVolumeBackup(context, options, notes);
    const host = await openAsHost(context, options, { everywhere: true });
    const settings = host.database.backup;
    const maxRate = textOption(options, 'maxRate');
    const rate = maxRate === undefined ? settings.maxRate : parseSize(maxRate);
    const begun = context.clock.monotonic();
    const run = {
      ...context,
      repository: host.repositoryHandle,
      database: host.name,
      kind: 'physical' as const,
    };
    const manifest = await recordRun(run, async () =>
      backup({
        repository: host.repositoryHandle,
        mirrors: host.mirrors,
        recipients: host.repository.recipients,
        database: host.name,
        connection: await host.connection(),
        kind: options.full ? 'full' : options.incremental ? 'incremental' : settings.kind,
        fullEverySeconds: settings.fullEvery,
        checkpoint:
          (textOption(options, 'checkpoint') as 'fast' | 'spread' | undefined) ?? settings.checkpoint,
        maxRateKiB: rate === undefined ? undefined : rateKiB(rate),
        verifyChecksums: options.verifyChecksums !== false && settings.verifyChecksums,
        read: (textOption(options, 'read') as typeof settings.read | undefined) ?? settings.read,
        fingerprint:
          (textOption(options, 'fingerprint') as typeof settings.fingerprint | undefined) ??
          settings.fingerprint,
        fingerprintMaxBytes: settings.fingerprintMaxBytes,
        label: textOption(options, 'label'),
        notes,
        newCluster: options.newCluster === true,
        level: host.repository.compression.level,
        program: context.program,
        clock: context.clock,
        progress: context.progress,
        signal: context.signal,
      }),
    );
    const seconds = (context.clock.monotonic() - begun) / 1000;
    return {
      data: { ...backupData(manifest, seconds), copies: host.mirrors?.states },
      text: [...backupText(manifest, backupFacts(manifest), seconds), ...copiesText(host.mirrors)],
      exit: copiesExit(host.mirrors),
    };
  },
};

/** Which options mean something with only one kind. */
const ownOptions: Readonly<Record<string, readonly string[]>> = {
  physical: ['full', 'incremental', 'newCluster', 'maxRate', 'checkpoint', 'read'],
  logical: ['dbname', 'format', 'jobs', 'toFolder', 'gpgRecipient', 'keepDays', 'url', 'passwordEnv'],
  volume: ['volume'],
};

/** What would be passed over in silence is refused. */
function assertKind(options: OptionValues): void {
  for (const [kind, names] of Object.entries(ownOptions)) {
    const given = kind === options.kind ? undefined : names.find((name) => options[name] !== undefined);
    if (given === undefined) continue;
    const flag = `--${given.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new HelvinoError('USAGE', `${flag} does not go with --kind ${options.kind}`, {
      hint: `add --kind ${kind}, or leave it out`,
    });
  }
}

/** The server takes whole KiB between 32 and 1 GiB. */
function rateKiB(bytes: number): number {
  const kib = Math.round(bytes / 1024);
  if (kib >= 32 && kib <= 1024 * 1024) return kib;
  throw new HelvinoError(
    'USAGE',
    `a rate of ${formatBytes(bytes)}/s is not possible: 32 KiB/s to 1 GiB/s are`,
    { hint: 'change --max-rate or backup.maxRate' },
  );
}

function notesOf(options: OptionValues): Record<string, string> {
  const notes: Record<string, string> = {};
  for (const note of listOption(options, 'note')) {
    const at = note.indexOf('=');
    if (at < 1)
      throw new HelvinoError('USAGE', `the note "${note}" has no name`, { hint: 'write --note name=value' });
    const name = note.slice(0, at);
    // JSON would lose it.
    if (name === '__proto__')
      throw new HelvinoError('USAGE', 'a note cannot be called "__proto__"', {
        hint: 'give it another name',
      });
    if (Object.hasOwn(notes, name))
      throw new HelvinoError('USAGE', `the note "${name}" is given twice`, { hint: 'leave one of them out' });
    notes[name] = note.slice(at + 1);
  }
  return notes;
}

function backupData(manifest: Manifest, seconds: number): Record<string, unknown> {
  const { id, database, kind, parent, label, notes, started, finished, totals, facts: source } = manifest;
  return { id, database, kind, parent, label, notes, started, finished, seconds, totals, source };
}

function backupText(manifest: Manifest, source: BackupFacts, seconds: number): string[] {
  const { totals } = manifest;
  return [
    `backup ${manifest.id} of ${manifest.database} is complete`,
    ...facts([
      ['kind', manifest.parent ? `incremental on ${manifest.parent} (${source.transfer})` : 'full'],
      [
        'cluster',
        `${formatBytes(totals.bytes)}, ${totals.files} files, PostgreSQL ${source.serverVersionText}`,
      ],
      ['received', formatBytes(totals.received)],
      ['stored', `${formatBytes(totals.stored)} new; ${formatBytes(totals.referenced)} make up this backup`],
      ['restores to', `${source.walEnd} on timeline ${source.timeline}`],
      ['took', formatDuration(seconds)],
    ]).map((line) => `  ${line}`),
    'It is stored and was read back. That it restores is unproven until `helvino drill`.',
  ];
}
