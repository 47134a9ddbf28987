/** `helvino restore --to-database`: its options, its questions, and what it prints. */
import { dirname, resolve } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { formatDuration, shellWord } from '../base/format.ts';
import { chooseDatabase } from '../config/index.ts';
import {
  type ApplicationSteps,
  type DumpSource,
  dumpInBackup,
  dumpInFile,
  leftoverWords,
  noApplication,
  planRestoreDatabase,
  type RestoreDatabaseResult,
  restoreDatabase,
} from '../operations/logical/index.ts';
import type { CliContext } from './context.ts';
import { jobsOption } from './logical-backup.ts';
import { chosenManifest, neededIdentities, openToRead, type ReadAccess } from './open.ts';
import { table } from './output/table.ts';
import { placeWords } from './place-words.ts';
import { serverOf, urlOptions } from './server.ts';
import { thawFirst } from './thaw.ts';
import { listOption, type OptionValues, textOption, type VerbOption, type VerbResult } from './verb.ts';

export const toDatabaseOptions: readonly VerbOption[] = [
  { flags: '--to-database <name>', description: 'restore a dump: the database that it becomes' },
  {
    flags: '--from-file <file>',
    description: 'a plain dump in a file (.sql, .sql.gz, .sql.gz.gpg) instead of a backup in the repository',
  },
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
  const file = textOption(options, 'fromFile');
  if (file === undefined) return restoreBackup(context, options, wanted);
  if (wanted !== undefined)
    throw new HelvinoError('USAGE', 'a backup and --from-file were given', { hint: 'give one of them' });
  const loaded = textOption(options, 'url') === undefined ? await context.config() : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  const source = await dumpInFile(resolve(context.cwd, file), context);
  return restoreSource(context, options, { source, access: { chosen, loaded }, what: { file } });
}

async function restoreBackup(
  context: CliContext,
  options: OptionValues,
  wanted: string | undefined,
): Promise<VerbResult> {
  const access = await openToRead(context, options);
  const identities = access.identities ?? (await neededIdentities(context, options));
  const manifest = await chosenManifest({ ...access, identities }, wanted, 'logical');
  const thawed = await thawFirst(context, options, { access, manifest });
  const source = await dumpInBackup(access.repository, {
    manifest,
    identities,
    name: textOption(options, 'dbname'),
  });
  const what = { backup: manifest.id, thaw: thawed?.data };
  const outcome = await restoreSource(context, options, { source, access, what });
  return { ...outcome, text: [...(thawed?.text ?? []), ...outcome.text] };
}

type Host = Pick<ReadAccess, 'chosen' | 'loaded'>;

async function restoreSource(
  context: CliContext,
  options: OptionValues,
  {
    source,
    access,
    what: from,
  }: { source: DumpSource; access: Host; what: Readonly<Record<string, unknown>> },
): Promise<VerbResult> {
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
  const what = `Restore ${source.name} ${source.database ? `(database ${source.database.name}) ` : ''}as ${request.database}`;
  if (options.dryRun) {
    const steps = plan.steps.map((step, index) => `  ${index + 1}. ${step}`);
    return {
      data: { ...from, plan },
      text: [
        `would ${what.charAt(0).toLowerCase()}${what.slice(1)}:`,
        ...steps,
        ...plan.leftovers.map(leftoverWords),
        'nothing was done',
      ],
    };
  }
  if (plan.replaces)
    await context.confirm(
      `${what}, in the place of the one that is there`,
      request.database,
      textOption(options, 'confirm'),
    );
  const result = await restoreDatabase(request);
  const place = placeWords(context, options, ['database']);
  return { data: { ...from, ...result }, text: resultText(result, place) };
}

function applicationOf({ chosen, loaded }: Host): ApplicationSteps {
  if (!chosen || !loaded) return noApplication;
  const { healthTimeout, directory, ...steps } = chosen.database.application;
  return {
    ...steps,
    healthTimeoutMs: healthTimeout * 1000,
    directory: directory === undefined ? dirname(loaded.file) : resolve(loaded.directory, directory),
  };
}

function resultText(result: RestoreDatabaseResult, place: readonly string[]): string[] {
  const swap = (what: string) => ['helvino swap', what, shellWord(result.keptAs ?? ''), ...place].join(' ');
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
          `the database before is kept as ${result.keptAs}: \`${swap('confirm')}\` drops it, \`${swap('undo')}\` brings it back`,
        ]),
  ];
}
