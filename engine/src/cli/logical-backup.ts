/** `helvino backup --kind logical`: its options, and what it prints. */
import { resolve } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { formatBytes, formatDuration, plural } from '../base/format.ts';
import { logicalFacts } from '../catalog/index.ts';
import { chooseDatabase, type LoadedConfig } from '../config/index.ts';
import type { PlainFileResult } from '../operations/logical/index.ts';
import { recordRun } from '../operations/runs/index.ts';
import type { Manifest } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { openAsHost } from './open.ts';
import { facts } from './output/table.ts';
import { serverOf, urlOptions } from './server.ts';
import { streamBackupResult } from './stream-backup-result.ts';
import { listOption, type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const logicalOptions: readonly VerbOption[] = [
  { flags: '--dbname <name...>', description: 'logical: only these databases of the server' },
  {
    flags: '--format <format>',
    description: 'logical: custom (the default), directory or plain',
    choices: ['custom', 'directory', 'plain'],
  },
  { flags: '--jobs <number>', description: 'logical: connections at a time, with --format directory' },
  {
    flags: '--to-folder <folder>',
    description:
      'logical: one database as the file helvino_backup_YYYYmmdd_HHMMSS.sql.gz in a folder, without a repository',
  },
  {
    flags: '--gpg-recipient <key>',
    description: 'with --to-folder: encrypt for this recipient, as .sql.gz.gpg',
  },
  {
    flags: '--keep-days <number>',
    description: 'with --to-folder: remove older files of this kind once the new one is there',
  },
  ...urlOptions.map((option) => ({ ...option, description: `with --to-folder: ${option.description}` })),
];

async function dumpIntoFolder(
  context: CliContext,
  options: OptionValues,
  folder: string,
): Promise<VerbResult> {
  const loaded = textOption(options, 'url') === undefined ? await configIfAny(context) : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  // Without --url and configuration all comes from PGHOST and the like, as with pg_dump itself.
  const url =
    textOption(options, 'url') === undefined && !chosen ? 'postgresql://' : textOption(options, 'url');
  const connection = await serverOf(context, { ...options, url }, { chosen, loaded });
  const names = listOption(options, 'dbname');
  if (names.length > 1)
    throw new HelvinoError('USAGE', `${names.length} databases were named: a file holds one`, {
      hint: 'run it once for each',
    });
  const binDir = chosen?.database.logical.binDir;
  const { dumpToFile } = await loadDumps();
  const begun = context.clock.monotonic();
  const result = await dumpToFile({
    ...context,
    connection,
    dbname: names[0] ?? connection.database,
    folder: resolve(context.cwd, folder),
    gpgRecipient: textOption(options, 'gpgRecipient'),
    keepDays: keepDaysOption(options),
    binDirs: binDir === undefined ? [] : [resolve(loaded!.directory, binDir)],
  });
  const seconds = (context.clock.monotonic() - begun) / 1000;
  return { data: { ...result, seconds }, text: fileText(result, seconds) };
}

/** A physical backup, which is the usual one, starts without them. */
function loadDumps(): Promise<typeof import('../operations/logical/index.ts')> {
  return import('../operations/logical/index.ts');
}

async function configIfAny(context: CliContext): Promise<LoadedConfig | undefined> {
  try {
    return await context.config();
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'CONFIG_NOT_FOUND' && !context.options.config)
      return undefined;
    throw thrown;
  }
}

function keepDaysOption(options: OptionValues): number | undefined {
  const given = textOption(options, 'keepDays');
  if (given === undefined) return undefined;
  if (/^[1-9]\d{0,5}$/.test(given)) return Number(given);
  throw new HelvinoError('USAGE', `"${given}" is not a number of days`, { hint: 'a whole number from 1 on' });
}

function fileText(result: PlainFileResult, seconds: number): string[] {
  return [
    `${result.file} is complete`,
    ...facts([
      ['database', `${result.dbname}, PostgreSQL ${result.server}`],
      ['size', `${formatBytes(result.bytes)}, ${formatBytes(result.plainBytes)} of SQL`],
      ['sha256', result.sha256],
      ['removed', result.removed.length > 0 ? `${plural(result.removed.length, 'older file')}` : undefined],
      ['took', formatDuration(seconds)],
    ]).map((line) => `  ${line}`),
    `It was read back. Roles are not in it; without Helvino: ${result.file.endsWith('.gpg') ? 'gpg --decrypt FILE | gunzip' : 'gunzip -c FILE'} | psql -d DATABASE`,
  ];
}

export async function runLogicalBackup(
  context: CliContext,
  options: OptionValues,
  notes: Readonly<Record<string, string>>,
): Promise<VerbResult> {
  const folder = textOption(options, 'toFolder');
  if (folder !== undefined) return dumpIntoFolder(context, options, folder);
  const host = await openAsHost(context, options, { everywhere: true });
  const { backup: settings, logical } = host.database;
  const inConfig = (path: string) => resolve(host.loaded.directory, path);
  const named = listOption(options, 'dbname');
  const { logicalBackup } = await loadDumps();
  const begun = context.clock.monotonic();
  const run = {
    ...context,
    repository: host.repositoryHandle,
    database: host.name,
    kind: 'logical' as const,
  };
  const manifest = await recordRun(run, async () =>
    logicalBackup({
      repository: host.repositoryHandle,
      recipients: host.repository.recipients,
      database: host.name,
      connection: await host.connection(),
      databases: named.length > 0 ? named : logical.databases,
      format: (textOption(options, 'format') as typeof logical.format | undefined) ?? logical.format,
      jobs: jobsOption(options) ?? logical.jobs,
      globals: logical.globals,
      binDirs: logical.binDir === undefined ? [] : [inConfig(logical.binDir)],
      stagingDirectory: logical.stagingDirectory && inConfig(logical.stagingDirectory),
      fingerprint:
        (textOption(options, 'fingerprint') as typeof settings.fingerprint | undefined) ??
        settings.fingerprint,
      fingerprintMaxBytes: settings.fingerprintMaxBytes,
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
  return streamBackupResult(context, host, { kind: 'logical', manifest, begun, text });
}

export function jobsOption(options: OptionValues): number | undefined {
  const given = textOption(options, 'jobs');
  if (given === undefined) return undefined;
  const jobs = Number(given);
  if (Number.isInteger(jobs) && jobs >= 1 && jobs <= 64) return jobs;
  throw new HelvinoError('USAGE', `"${given}" is not a number of jobs: 1 to 64 are possible`);
}

function text(manifest: Manifest, seconds: number): string[] {
  const source = logicalFacts(manifest);
  const { totals } = manifest;
  const names = source.databases.map((d) => `${d.name} (${formatBytes(d.bytes)})`);
  return [
    `logical backup ${manifest.id} of ${manifest.database} is complete`,
    ...facts([
      ['dumped', names.join(', ')],
      ['by', `${source.tool}, ${source.format} format, from PostgreSQL ${source.serverVersionText}`],
      ['globals', source.globals === 'none' ? 'not in it' : `roles ${source.globals}, and tablespaces`],
      [
        'content',
        source.fingerprint.state === 'taken' ? plural(source.fingerprint.tables, 'table') : 'not recorded',
      ],
      ['stored', `${formatBytes(totals.stored)} of ${formatBytes(totals.bytes)}`],
      ['took', formatDuration(seconds)],
    ]).map((line) => `  ${line}`),
    'It is stored and was read back. That it restores is unproven until `helvino drill --kind logical`.',
  ];
}
