/**
 * `helvino backup --kind logical`: dumps by pg_dump, streamed into the repository. The order is that of every backup: keys
 * and lease before data, data before manifest. A dump whose program did not end well, or whose end is missing, is no backup.
 */

import { HelvinoError } from '../../base/errors.ts';
import { type LogicalFacts, majorOf } from '../../catalog/index.ts';
import {
  type ClientPrograms,
  ClientRun,
  type ConnectionParams,
  connectSql,
  databaseArgument,
  describeConnection,
  findClientPrograms,
  programEnvironment,
} from '../../postgres/index.ts';
import { Lease, type Manifest, WorkIndex } from '../../repository/index.ts';
import { openPool } from '../backup/open-pool.ts';
import type { FingerprintMode } from '../backup/source-fingerprint.ts';
import { newBackupId } from '../new-backup-id.ts';
import { commitStreams, type StreamBackupOptions } from './commit-streams.ts';
import { type DumpedDatabase, dumpDatabase } from './dump-database.ts';
import { type LogicalSource, readLogicalSource } from './logical-source.ts';
import { StoredStream, type StreamTarget, streamTarget } from './stored-stream.ts';

export interface LogicalBackupOptions extends StreamBackupOptions {
  readonly connection: ConnectionParams;
  /** Undefined: all databases of the server that are no templates. */
  readonly databases?: readonly string[];
  readonly format: LogicalFacts['format'];
  /** Connections at a time, with the directory format. */
  readonly jobs: number;
  /** Roles and tablespaces, too. */
  readonly globals: boolean;
  /** Folders to look for pg_dump in, before the usual ones. */
  readonly binDirs: readonly string[];
  /** Where the directory format is put together; undefined: the temporary folder. */
  readonly stagingDirectory?: string;
  readonly fingerprint: FingerprintMode;
  readonly fingerprintMaxBytes: number;
}

/** Throws BINARIES_NOT_FOUND, SERVER_*, STORAGE_*, PROTOCOL. */
export async function logicalBackup(options: LogicalBackupOptions): Promise<Manifest> {
  const { repository, clock, progress } = options;
  const started = clock.now();
  const id = await newBackupId(repository, clock);
  await using cleanup = new AsyncDisposableStack();
  progress.phase('connecting');
  const source = await lookAt(options);
  const programs = await findClientPrograms(majorOf(source.serverVersion), {
    env: options.env,
    extraDirs: options.binDirs,
  });

  const lease = await Lease.acquire(repository.driver, clock, { kind: 'backup', uses: [] });
  cleanup.defer(() => lease.release());
  const index = new WorkIndex();
  cleanup.defer(() => index.close());
  const pool = await openPool(options);
  cleanup.defer(() => pool.close());
  const target = streamTarget(pool, index, Math.floor(started.getTime() / 1000));

  const globals = options.globals ? await dumpGlobals({ options, source, programs, target }) : 'none';
  const content =
    options.fingerprint === 'full' ||
    (options.fingerprint === 'auto' && totalSize(source) <= options.fingerprintMaxBytes);
  const dumped: DumpedDatabase[] = [];
  for (const database of source.databases)
    dumped.push(await dumpDatabase(database, { options, programs, target, content }));

  progress.phase('finishing');
  const facts = factsOf(options, { source, programs, globals, dumped });
  for (const warning of facts.warnings) progress.note('warn', warning);
  // Awaited here: what follows a bare return runs after the lease is gone.
  return await commitStreams({
    ...options,
    id,
    started,
    pool,
    index,
    target,
    lease,
    sections: {
      tables: dumped.flatMap((d) => d.tables),
      databases: dumped.map((d) => ({ name: d.facts.name, ...d.properties })),
      schema: dumped.map((d) => ({ database: d.facts.name, ...d.schema })),
    },
    facts,
  });
}

async function lookAt({ connection, databases, signal }: LogicalBackupOptions): Promise<LogicalSource> {
  const client = await connectSql(connection, { signal });
  try {
    const source = await readLogicalSource(client, databases);
    const [closed] = source.closed;
    if (databases !== undefined && closed !== undefined)
      throw new HelvinoError('SERVER_AUTH', `the role may not connect to the database "${closed}"`, {
        hint: `GRANT CONNECT ON DATABASE "${closed}" TO the role, or leave it out`,
      });
    if (source.databases.length === 0)
      throw new HelvinoError('SERVER_AUTH', 'the role may not connect to any database');
    return source;
  } finally {
    await client.end();
  }
}

/** The streams of what belongs to no database. Apart, since tablespaces are places on the source's disks. */
export const globalsPaths = { roles: 'roles.sql', tablespaces: 'tablespaces.sql' } as const;

async function dumpGlobals({
  options,
  source,
  programs,
  target,
}: {
  options: LogicalBackupOptions;
  source: LogicalSource;
  programs: ClientPrograms;
  target: StreamTarget;
}): Promise<LogicalFacts['globals']> {
  const { connection, signal, progress } = options;
  progress.phase('dumping roles and tablespaces');
  const database = source.databases[0]!.name;
  const env = programEnvironment(connection, database);
  for (const [what, path] of Object.entries(globalsPaths)) {
    const args = [`--${what}-only`, '--no-password', `--database=${databaseArgument(database)}`];
    if (!source.readsPasswords) args.push('--no-role-passwords');
    const run = new ClientRun('pg_dumpall', args, { programs, env, signal });
    const stream = new StoredStream(target, path);
    try {
      await stream.writeAll(run.stdout);
      await run.ended;
    } finally {
      await run.kill();
    }
    await stream.end();
  }
  return source.readsPasswords ? 'with passwords' : 'without passwords';
}

function totalSize(source: LogicalSource): number {
  return source.databases.reduce((sum, database) => sum + database.size, 0);
}

function factsOf(
  options: LogicalBackupOptions,
  {
    source,
    programs,
    globals,
    dumped,
  }: {
    source: LogicalSource;
    programs: ClientPrograms;
    globals: LogicalFacts['globals'];
    dumped: readonly DumpedDatabase[];
  },
): LogicalFacts {
  const tables = dumped.flatMap((d) => d.tables);
  const unproven = dumped.find((d) => d.unproven !== undefined)?.unproven;
  const warnings = dumped.flatMap((d) => d.warnings.map((warning) => `${d.facts.name}: ${warning}`));
  for (const name of source.closed)
    warnings.push(`the database ${name} is not in the backup: the role may not connect to it`);
  if (globals === 'without passwords')
    warnings.push('the roles are stored without their passwords, which the role may not read');
  return {
    method: 'logical',
    serverVersion: source.serverVersion,
    serverVersionText: source.serverVersionText,
    server: describeConnection(options.connection),
    fromStandby: source.fromStandby,
    tool: `pg_dump ${programs.version}`,
    format: options.format,
    globals,
    databases: dumped.map((d) => d.facts),
    fingerprint: {
      state: unproven === undefined ? 'taken' : 'unproven',
      reason: unproven,
      tables: tables.length,
      skipped: tables.filter((table) => table.hash === null).length,
      hiddenDatabases: [...source.closed],
    },
    warnings,
  };
}
