import { resolve } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, formatDuration, shellWord } from '../../base/format.ts';
import { backupFacts } from '../../catalog/index.ts';
import {
  type AfterRecovery,
  inheritedArchiving,
  planRestore,
  restore,
} from '../../operations/restore/index.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  identityOption,
  neededIdentities,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { recoveryData, recoveryOf, recoveryOptions } from '../recovery.ts';
import { restoreToDatabase, toDatabaseOptions } from '../restore-database.ts';
import { thawFirst, thawFirstOptions } from '../thaw.ts';
import { listOption, type OptionValues, textOption, type Verb } from '../verb.ts';
import { restoreToVolume, toVolumeOptions } from '../volume-restore.ts';

export const restoreVerb: Verb = {
  name: 'restore',
  summary: 'restore a backup: into a directory, a dump into a database, a Docker volume into a new one',
  details: [
    'The directory must be empty, or be a data directory that --delta makes like the backup. A restore that was stopped goes on when the',
    'same command is run again. A server started on the directory replays the WAL of the backup and begins a new timeline.',
    'With --to-database a dump is loaded into a new database, compared with what was dumped, and put in the place of the one of that',
    'name, if there is one: that one is kept under another name until `helvino swap confirm`. The application is stopped before,',
    'migrated and started after, as the configuration says.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    ...recoveryOptions,
    { flags: '-t, --to-directory <folder>', description: 'the data directory' },
    { flags: '--delta', description: 'rewrite only what differs, remove what is not in the backup' },
    {
      flags: '--tablespace <old=new...>',
      description: 'another place for a tablespace (by location or oid; *=folder for all)',
    },
    {
      flags: '--owner <user>',
      description: 'owner of the files, as user or user:group (root only; default postgres)',
    },
    {
      flags: '--after <action>',
      description:
        'what the server does when it has recovered: promote (open on a new timeline), pause (stay read-only until told), shutdown',
      default: 'promote',
      choices: ['promote', 'pause', 'shutdown'],
    },
    {
      flags: '--same-timeline',
      description:
        'do not begin a new timeline: only where its source is gone for good and no WAL of it is stored',
    },
    ...toDatabaseOptions,
    ...toVolumeOptions,
    ...thawFirstOptions,
    { flags: '--dry-run', description: 'check everything, write nothing' },
    {
      flags: '--confirm <name>',
      description: 'the folder (with --delta), or the database to replace, again, instead of typing it',
    },
  ],
  examples: [
    'helvino restore --to-directory /srv/restored --identity identity.txt',
    'helvino restore --to "2026-11-25 14:03:00+01" --to-directory /srv/restored --identity identity.txt',
    'helvino restore 20261125T120302Z --to-directory /var/lib/postgresql/18/main --delta --identity identity.txt',
    'helvino restore --to-database helvino_prod --identity identity.txt',
    'helvino restore --to-database looked_at --dbname helvino_prod --table public.messages --identity identity.txt',
  ],
  async run(context, options, [wanted]) {
    if (options.toVolume !== undefined) return restoreToVolume(context, options, wanted);
    if (options.toDatabase !== undefined) return restoreToDatabase(context, options, wanted);
    const access = await openToRead(context, options);
    const identities = access.identities ?? (await neededIdentities(context, options));
    const recovery = await recoveryOf(context, options, {
      access: { ...access, identities },
      wanted,
    });
    const manifest =
      recovery?.target.manifest ?? (await chosenManifest({ ...access, identities }, wanted, 'physical'));
    const to = textOption(options, 'toDirectory');
    if (to === undefined)
      throw new HelvinoError('USAGE', 'no directory was given', {
        hint: '--to-directory FOLDER: the data directory to restore into; --to-database NAME for a dump, --to-volume NAME for a volume',
      });
    const request = {
      repository: access.repository,
      identities,
      manifest,
      recovery,
      directory: resolve(context.cwd, to),
      delta: options.delta === true,
      tablespaces: tablespacesOf(options),
      owner: textOption(options, 'owner'),
      newTimeline: options.sameTimeline !== true,
      after: textOption(options, 'after') as AfterRecovery,
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    };
    const { plan, keys } = await planRestore(request);
    const source = backupFacts(manifest);
    const until = recovery ? ` up to ${recovery.target.description}` : '';
    const what = `backup ${manifest.id} of ${manifest.database} (PostgreSQL ${source.serverVersionText}, ${formatBytes(plan.bytes)}) into ${request.directory}${until}`;
    if (options.dryRun)
      return {
        data: {
          backup: manifest.id,
          directory: request.directory,
          recovery: recoveryData(recovery),
          plan,
        },
        text: [`would restore ${what}`, `the directory is ${plan.state}; nothing was written`],
      };
    if (plan.state === 'existing')
      await context.confirm(
        `Overwrite ${request.directory} with ${what}`,
        request.directory,
        textOption(options, 'confirm'),
      );
    const thawed = await thawFirst(context, options, { access, manifest });
    const result = await restore({ ...request, keys });
    return {
      data: { ...result, recovery: recoveryData(recovery), thaw: thawed?.data },
      text: [
        ...(thawed?.text ?? []),
        `restored ${what}`,
        `  ${result.files} files, ${formatBytes(result.written)} written, ${formatDuration(result.seconds)}`,
        ...result.tablespaces.map((t) => `  tablespace ${t.oid} is at ${t.to}`),
        ...(await startText(request, Math.floor(source.serverVersion / 10000))),
      ],
    };
  },
};

/** How to start it, and what to mind. */
async function startText(
  { directory, newTimeline, after }: { directory: string; newTimeline: boolean; after: AfterRecovery },
  major: number,
): Promise<string[]> {
  const archiving = await inheritedArchiving(directory);
  return [
    `start it with a PostgreSQL ${major} server: pg_ctl -D ${shellWord(directory)} start`,
    ...(archiving === undefined ? [] : archivingText),
    ...(newTimeline ? [] : sameTimelineText),
    ...afterText[after],
  ];
}

const archivingText = [
  'beside its source, start it with -o "-c archive_mode=off": it has the archive_command of the source, and would archive to the same place',
];

const sameTimelineText = [
  'it stays on its timeline: WAL that it writes has the names of WAL that its source wrote; never stream or archive it to where that is stored',
];

const afterText: Readonly<Record<AfterRecovery, readonly string[]>> = {
  promote: [],
  pause: [
    'when it has recovered it stays read-only; when you have looked: SELECT pg_wal_replay_resume() opens it on a new timeline',
    'until then a table that was being dropped, truncated or altered at that moment is locked, and a query of it waits; `helvino open` can read it',
  ],
  shutdown: [
    "when it has recovered it shuts down; to open it: recovery_target_action = 'promote' in postgresql.auto.conf, then start it again",
  ],
};

function tablespacesOf(options: OptionValues): Map<string, string> {
  const mapping = new Map<string, string>();
  for (const pair of listOption(options, 'tablespace')) {
    const at = pair.indexOf('=');
    if (at < 1)
      throw new HelvinoError('USAGE', `the tablespace mapping "${pair}" has no "="`, {
        hint: 'write --tablespace /old/place=/new/place',
      });
    mapping.set(pair.slice(0, at), resolve(pair.slice(at + 1)));
  }
  return mapping;
}
