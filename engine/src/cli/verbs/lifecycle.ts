import { formatBytes, plural } from '../../base/format.ts';
import { openArchive, surroundingsOf } from '../../operations/index.ts';
import { applyLifecycle, type LifecyclePlan, planLifecycle } from '../../operations/lifecycle/index.ts';
import type { CliContext } from '../context.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  type HostAccess,
  identityOption,
  openAsHost,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { table } from '../output/table.ts';
import { placeWords } from '../place-words.ts';
import { thaw, thawOptions } from '../thaw.ts';
import type { OptionValues, Verb } from '../verb.ts';

const details = [
  'Packs that only old backups need, which retention keeps for long, are marked; a rule of the bucket moves what is marked to GLACIER at',
  '30 days and to DEEP_ARCHIVE at 365. What a recent backup, the newest of a kind, the last proven one or the recovery window needs stays',
  'where it can be read at once. Rules of others in the bucket stay. `helvino restore --thaw` gets a backup back.',
];

async function planned(
  context: CliContext,
  options: OptionValues,
): Promise<{ host: HostAccess; plan: LifecyclePlan }> {
  const host = await openAsHost(context, options);
  context.progress.phase('reading the backups');
  const request = { database: host.name, settings: host.database };
  return { host, plan: await planLifecycle(host.repositoryHandle, request) };
}

const planVerb: Verb = {
  name: 'lifecycle plan',
  summary: 'show what could go to an archive class on S3, and why',
  details,
  options: [databaseOption, copyOption],
  examples: ['helvino lifecycle plan', 'helvino lifecycle plan --copy frankfurt'],
  async run(context, options) {
    const { plan } = await planned(context, options);
    const apply = ['helvino lifecycle apply', ...placeWords(context, options, ['database', 'copy'])];
    return {
      data: plan,
      text: [...planText(plan), `nothing was done: \`${apply.join(' ')}\` does it`],
    };
  },
};

const apply: Verb = {
  name: 'lifecycle apply',
  summary: 'set the lifecycle rules of the bucket and mark what may go to an archive class',
  details,
  options: [databaseOption, copyOption, { flags: '--dry-run', description: 'only the plan' }],
  examples: ['helvino lifecycle apply'],
  async run(context, options) {
    const { host, plan } = await planned(context, options);
    if (options.dryRun) return { data: { applied: false, plan }, text: planText(plan) };
    const archive = await openArchive(host.repository.storage, surroundingsOf(host.loaded, context.env));
    try {
      const done = await applyLifecycle(archive, plan);
      return {
        data: { applied: true, plan, ...done },
        text: [
          ...planText(plan),
          `${plural(done.marked, 'pack')} marked; the rules ${done.rulesChanged ? 'are set' : 'were set already'}`,
        ],
      };
    } finally {
      archive.close();
    }
  },
};

function planText({ rules, backups, packs }: LifecyclePlan): string[] {
  return [
    ...rules.map((rule) => `rule     ${rule}`),
    ...table(
      [{ title: 'backup' }, { title: 'may be archived' }, { title: 'because' }],
      backups.map(({ id, archive, why }) => [id, archive ? 'yes' : 'no', why]),
    ),
    `${plural(packs.length, 'pack')}, ${formatBytes(packs.bytes)}, may be archived`,
  ];
}

const thawVerb: Verb = {
  name: 'lifecycle thaw',
  summary: 'get a backup back from an archive class, and wait until it can be read',
  details: [
    'Can be stopped and run again: what was asked for stays asked for. `helvino restore --thaw` does it before it restores.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [databaseOption, copyOption, identityOption, repositoryOption, ...thawOptions],
  examples: ['helvino lifecycle thaw 20251125T120302Z --thaw-tier bulk'],
  async run(context, options, [wanted]) {
    const access = await openToRead(context, options);
    return thaw(context, options, { access, manifest: await chosenManifest(access, wanted) });
  },
};

export const lifecycleVerbs: readonly Verb[] = [planVerb, apply, thawVerb];
