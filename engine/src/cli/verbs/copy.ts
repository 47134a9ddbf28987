import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, plural } from '../../base/format.ts';
import { type ChosenDatabase, chooseDatabase, parseDuration } from '../../config/index.ts';
import {
  type CopyOptions,
  type CopyPlan,
  type CopyReport,
  copy,
  planCopy,
} from '../../operations/copies/index.ts';
import { openConfigured, openStorage, surroundingsOf } from '../../operations/index.ts';
import { databaseOption } from '../open.ts';
import { textOption, type Verb } from '../verb.ts';

export const copyVerb: Verb = {
  name: 'copy',
  summary: 'bring copies of the repository up to date from another, without the database',
  details: [
    'Copies backups, WAL, keys and proofs that a copy lacks; makes the copy if there is none yet. Every object is checked before it is',
    'stored and read back after it. Nothing is overwritten or removed: what is damaged, `helvino heal` mends. What retention or',
    '`helvino remove` took away from a copy stays away, except with --again; what is removed from the source stays in the copy.',
  ],
  arguments: [
    { name: '[copy]', description: 'which one, by its name in helvino.yaml; default: all but the source' },
  ],
  options: [
    databaseOption,
    { flags: '--from <name>', description: "the source; default: the database's repository" },
    { flags: '--since <duration>', description: 'only backups that are younger, e.g. 30d' },
    { flags: '--again', description: 'also what was removed from the copy on purpose' },
    { flags: '--dry-run', description: 'show what would be copied' },
  ],
  examples: [
    'helvino copy',
    'helvino copy second-region --dry-run',
    'helvino copy main --from second-region',
  ],
  exits: [
    { status: 1, meaning: 'something could not be copied: the source is damaged, or a copy cannot be used' },
  ],
  async run(context, options, [wanted]) {
    const loaded = await context.config();
    const chosen = chooseDatabase(loaded, textOption(options, 'database'), textOption(options, 'from'));
    const surroundings = surroundingsOf(loaded, context.env, chosen.database);
    const source = await openConfigured(chosen.repository, surroundings);
    const since = textOption(options, 'since');
    const results: Result[] = [];
    for (const { name, config } of targetsOf(chosen, wanted)) {
      context.signal.throwIfAborted();
      try {
        const request = {
          source,
          target: await openStorage(config.storage, surroundings),
          database: chosen.name,
          since:
            since === undefined
              ? undefined
              : new Date((await source.driver.now()).getTime() - parseDuration(since) * 1000),
          again: options.again === true,
          clock: context.clock,
          progress: context.progress,
          signal: context.signal,
        };
        results.push({ copy: name, ...(await once(request, options.dryRun === true)) });
      } catch (thrown) {
        // The others are to get their backups all the same.
        if (!(thrown instanceof HelvinoError) || context.signal.aborted) throw thrown;
        results.push({ copy: name, error: thrown });
      }
    }
    const good = results.every(
      ({ report, error }) => error === undefined && (report === undefined || isWhole(report)),
    );
    return {
      data: { from: chosen.repositoryName, copies: results },
      text: results.flatMap(textOf),
      exit: good ? 0 : 1,
    };
  },
};

interface Result {
  readonly copy: string;
  readonly plan?: CopyPlan;
  readonly report?: CopyReport;
  readonly error?: HelvinoError;
}

async function once(
  request: CopyOptions,
  dryRun: boolean,
): Promise<{ plan?: CopyPlan; report?: CopyReport }> {
  return dryRun ? { plan: await planCopy(request) } : { report: await copy(request) };
}

function targetsOf(
  { others, repositoryName }: ChosenDatabase,
  wanted: string | undefined,
): ChosenDatabase['others'] {
  const targets = others.filter(({ name }) => wanted === undefined || name === wanted);
  if (targets.length > 0) return targets;
  const names = others.map(({ name }) => name);
  throw new HelvinoError(
    'USAGE',
    wanted === undefined
      ? `${repositoryName} has no copies`
      : `"${wanted}" is not a copy of ${repositoryName}`,
    { hint: names.length > 0 ? `copies: ${names.join(', ')}` : 'name them under `copies` in helvino.yaml' },
  );
}

function isWhole({ backups, problems }: CopyReport): boolean {
  return problems.length === 0 && backups.every(({ problem }) => problem === undefined);
}

function textOf({ copy: name, plan, report, error }: Result): string[] {
  if (error) return [`FAILED   ${name}: ${error.message}`];
  if (plan) {
    const { backups, removed, wal, fresh } = plan;
    return [
      `${name} lacks ${plural(backups.length, 'backup')}, ${plural(wal.pieces, 'piece')} of WAL (${formatBytes(wal.bytes)})${fresh ? '; it is to be made' : ''}`,
      ...backups.map((id) => `  ${id}`),
      ...removedText(removed),
    ];
  }
  if (!report) return [];
  const { backups, removed, objects, bytes, problems } = report;
  return [
    `${isWhole(report) ? 'current ' : 'DAMAGED '} ${name}: ${plural(backups.length, 'backup')}, ${plural(objects, 'object')}, ${formatBytes(bytes)} copied`,
    ...backups.map(
      ({ id, problem }) => `  ${id}${problem === undefined ? '' : ` was NOT copied: ${problem}`}`,
    ),
    ...removedText(removed),
    ...problems.map(({ object, why }) => `  ${object} was NOT copied: ${why}`),
  ];
}

function removedText(removed: readonly string[]): string[] {
  if (removed.length === 0) return [];
  const what = plural(removed.length, 'backup');
  return [`  ${what} of the source not brought: removed from the copy before (--again brings them back)`];
}
