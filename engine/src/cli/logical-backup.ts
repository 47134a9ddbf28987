/** `helvino backup --kind logical`: its options, and what it prints. */
import { resolve } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { formatBytes, formatDuration, plural } from '../base/format.ts';
import { logicalFacts } from '../catalog/index.ts';
import { logicalBackup } from '../operations/index.ts';
import type { Manifest } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { openAsHost } from './open.ts';
import { facts } from './output/table.ts';
import { listOption, type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const logicalOptions: readonly VerbOption[] = [
  { flags: '--dbname <name...>', description: 'logical: only these databases of the server' },
  {
    flags: '--format <format>',
    description: 'logical: custom (the default), directory or plain',
    choices: ['custom', 'directory', 'plain'],
  },
  { flags: '--jobs <number>', description: 'logical: connections at a time, with --format directory' },
];

export async function runLogicalBackup(
  context: CliContext,
  options: OptionValues,
  notes: Readonly<Record<string, string>>,
): Promise<VerbResult> {
  const host = await openAsHost(context, options);
  const { backup: settings, logical } = host.database;
  const inConfig = (path: string) => resolve(host.loaded.directory, path);
  const named = listOption(options, 'dbname');
  const begun = context.clock.monotonic();
  const manifest = await logicalBackup({
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
      (textOption(options, 'fingerprint') as typeof settings.fingerprint | undefined) ?? settings.fingerprint,
    fingerprintMaxBytes: settings.fingerprintMaxBytes,
    label: textOption(options, 'label'),
    notes,
    level: host.repository.compression.level,
    program: context.program,
    env: context.env,
    clock: context.clock,
    progress: context.progress,
    signal: context.signal,
  });
  const seconds = (context.clock.monotonic() - begun) / 1000;
  const { id, database, label, started, finished, totals, facts: source } = manifest;
  const data = {
    id,
    database,
    kind: 'logical',
    label,
    notes: manifest.notes,
    started,
    finished,
    seconds,
    totals,
    source,
  };
  return { data, text: text(manifest, seconds) };
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
