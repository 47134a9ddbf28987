/** `helvino restore --to-database`: its options, its questions, and what it prints. */
import { dirname, resolve } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { formatDuration, shellWord } from '../base/format.ts';
import {
  type ApplicationSteps,
  connectionOf,
  dumpInBackup,
  noApplication,
  planRestoreDatabase,
  type RestoreDatabaseResult,
  restoreDatabase,
  surroundingsOf,
} from '../operations/index.ts';
import { type ConnectionParams, resolveConnection } from '../postgres/index.ts';
import type { CliContext } from './context.ts';
import { jobsOption } from './logical-backup.ts';
import { chosenManifest, neededIdentities, openToRead, type ReadAccess } from './open.ts';
import { table } from './output/table.ts';
import { listOption, type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const urlOptions: readonly VerbOption[] = [
  {
    flags: '--url <url>',
    description: 'the server, and the role to do it as; the configured connection otherwise',
  },
  { flags: '--password-env <name>', description: 'the variable that holds the password for --url' },
];

export const toDatabaseOptions: readonly VerbOption[] = [
  { flags: '--to-database <name>', description: 'restore a dump: the database that it becomes' },
  {
    flags: '--dbname <name>',
    description: 'dump: which database of it (default: the only one besides postgres)',
  },
  ...urlOptions,
  { flags: '--schema <name...>', description: 'dump: only these schemas, into a new database' },
  { flags: '--table <name...>', description: 'dump: only these tables (schema.table, or table)' },
  { flags: '--jobs <number>', description: 'dump: connections at a time (default: 1 for custom)' },
  { flags: '--globals', description: 'dump: roles and tablespaces, too' },
  { flags: '--no-owner', description: 'dump: all belongs to the role that restores' },
  { flags: '--no-acl', description: 'dump: leave out rights' },
  {
    flags: '--no-application',
    description: 'dump: leave the application alone, whatever the configuration says',
  },
];

export async function restoreToDatabase(
  context: CliContext,
  options: OptionValues,
  wanted: string | undefined,
): Promise<VerbResult> {
  if (textOption(options, 'toDirectory') !== undefined)
    throw new HelvinoError('USAGE', '--to-directory and --to-database were given', {
      hint: 'give one of them',
    });
  const access = await openToRead(context, options);
  const identities = access.identities ?? (await neededIdentities(context, options));
  const manifest = await chosenManifest({ ...access, identities }, wanted, 'logical');
  const source = await dumpInBackup(access.repository, {
    manifest,
    identities,
    name: textOption(options, 'dbname'),
  });
  const settings = access.chosen?.database.logical;
  const inConfig = (path: string) => resolve(access.loaded?.directory ?? context.cwd, path);
  const request = {
    source,
    connection: await serverOf(context, options, access),
    database: textOption(options, 'toDatabase')!,
    selection: { schemas: listOption(options, 'schema'), tables: listOption(options, 'table') },
    jobs: jobsOption(options) ?? (source.format === 'directory' ? (settings?.jobs ?? 2) : 1),
    owners: options.owner !== false,
    rights: options.acl !== false,
    globals: options.globals === true,
    application: options.application === false ? noApplication : applicationOf(access),
    binDirs: settings?.binDir === undefined ? [] : [inConfig(settings.binDir)],
    stagingDirectory: settings?.stagingDirectory && inConfig(settings.stagingDirectory),
    env: context.env,
    clock: context.clock,
    progress: context.progress,
    signal: context.signal,
  };
  const plan = await planRestoreDatabase(request);
  const what = `Restore ${source.name} (database ${source.database?.name}) as ${request.database}`;
  if (options.dryRun) {
    const steps = plan.steps.map((step, index) => `  ${index + 1}. ${step}`);
    return {
      data: { backup: manifest.id, plan },
      text: [`would ${what.charAt(0).toLowerCase()}${what.slice(1)}:`, ...steps, 'nothing was done'],
    };
  }
  if (plan.replaces)
    await context.confirm(
      `${what}, in the place of the one that is there`,
      request.database,
      textOption(options, 'confirm'),
    );
  const result = await restoreDatabase(request);
  return { data: { backup: manifest.id, ...result }, text: resultText(result) };
}

/** As `--url` says, else as the configuration does. */
export async function serverOf(
  context: CliContext,
  options: OptionValues,
  { chosen, loaded }: Pick<ReadAccess, 'chosen' | 'loaded'>,
): Promise<ConnectionParams> {
  const url = textOption(options, 'url');
  if (url !== undefined) {
    const variable = textOption(options, 'passwordEnv');
    const password = variable === undefined ? undefined : context.env[variable];
    if (variable !== undefined && !password)
      throw new HelvinoError('KEY_MISSING', `the variable ${variable} is not set`, {
        hint: `set ${variable}`,
      });
    return resolveConnection({ url, overrides: { password } }, context.env);
  }
  if (chosen && loaded) return connectionOf(chosen.database, surroundingsOf(loaded, context.env));
  throw new HelvinoError('USAGE', 'no server was given', { hint: '--url postgresql://role@host/postgres' });
}

function applicationOf({ chosen, loaded }: ReadAccess): ApplicationSteps {
  if (!chosen || !loaded) return noApplication;
  const { healthTimeout, directory, ...steps } = chosen.database.application;
  return {
    ...steps,
    healthTimeoutMs: healthTimeout * 1000,
    directory: directory === undefined ? dirname(loaded.file) : resolve(loaded.directory, directory),
  };
}

function resultText(result: RestoreDatabaseResult): string[] {
  const rows = result.tables.map((t) => [`${t.schema}.${t.table}`, t.rows ?? '?']);
  const counts = table([{ title: 'table' }, { title: 'rows', align: 'right' }], rows);
  return [
    ...result.steps,
    ...(rows.length > 0 ? counts.map((line) => `  ${line}`) : []),
    ...result.checks.map((check) => `${check.state}: ${check.name}: ${check.detail}`),
    ...result.checks.flatMap((check) => (check.findings ?? []).map((line) => `  ${line}`)),
    `${result.database} is restored from ${result.from} in ${formatDuration(result.seconds)}`,
    ...(result.keptAs === undefined
      ? []
      : [
          `the database before is kept as ${result.keptAs}: \`helvino swap confirm ${shellWord(result.keptAs)}\` drops it, \`helvino swap undo ${shellWord(result.keptAs)}\` brings it back`,
        ]),
  ];
}
