/**
 * One database: a snapshot, its dump by pg_dump, and the row counts and content hashes of the very same snapshot, which a
 * restore is compared with later.
 */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import type { LogicalFacts } from '../../catalog/index.ts';
import {
  type ClientPrograms,
  ClientRun,
  connectSql,
  createScratch,
  type DatabaseProperties,
  liftLimits,
  programEnvironment,
  readDatabaseProperties,
  readSchemaFacts,
  type SchemaFacts,
  sweepScratch,
  type TableFingerprint,
} from '../../postgres/index.ts';
import { dumpedTables } from './dumped-tables.ts';
import type { LogicalBackupOptions } from './logical-backup.ts';
import type { SourceDatabase } from './logical-source.ts';
import { StoredStream, type StreamTarget } from './stored-stream.ts';

export interface DumpedDatabase {
  readonly facts: LogicalFacts['databases'][number];
  readonly properties: DatabaseProperties;
  readonly tables: readonly (TableFingerprint & { readonly database: string })[];
  /** See SourceSchema of a physical backup. */
  readonly schema: SchemaFacts | { readonly unproven: string };
  /** Why the content is not known. */
  readonly unproven?: string;
  readonly warnings: readonly string[];
}

interface DumpContext {
  readonly options: LogicalBackupOptions;
  readonly programs: ClientPrograms;
  readonly target: StreamTarget;
  readonly content: boolean;
}

/** Names may hold any character, and may be `..`. */
export function folderOf(database: string): string {
  return `database-${encodeURIComponent(database)}`;
}

/** The stream of a dump in its folder: `dump.custom`, `dump.sql`; for the directory format the folder of them. */
export function dumpPath(folder: string, format: LogicalFacts['format']): string {
  return `${folder}/${format === 'plain' ? 'dump.sql' : format === 'custom' ? 'dump.custom' : 'dump'}`;
}

export async function dumpDatabase(database: SourceDatabase, context: DumpContext): Promise<DumpedDatabase> {
  const { options } = context;
  const { connection, signal, progress } = options;
  const client = await connectSql(connection, { database: database.name, signal });
  // A broken connection is noticed by the next query; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await liftLimits(client);
    await client.query('begin isolation level repeatable read read only');
    const { rows } = await client.query<{ snapshot: string; time: Date }>(
      'select pg_export_snapshot() as snapshot, clock_timestamp() as time',
    );
    const { snapshot, time } = rows[0]!;
    // Before the dump: definitions are not as of a snapshot.
    const schema = await readSchemaFacts(client).catch((thrown: unknown) => {
      signal.throwIfAborted();
      return { unproven: (thrown as Error).message };
    });
    progress.phase(`dumping ${database.name}`, undefined, 'bytes');
    const dumped = await runDump(database.name, snapshot, context);
    const content = await readContent(client, context);
    const properties = await readDatabaseProperties(client, database.name);
    const { size, ...rest } = database;
    const facts = {
      ...rest,
      folder: folderOf(database.name),
      snapshot: time.toISOString(),
      bytes: dumped.bytes,
    };
    const tables = content.tables.map((table) => ({ ...table, database: database.name }));
    return { facts, properties, schema, tables, unproven: content.unproven, warnings: dumped.warnings };
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function readContent(
  client: Awaited<ReturnType<typeof connectSql>>,
  { options, content }: DumpContext,
): Promise<{ tables: readonly TableFingerprint[]; unproven?: string }> {
  const { fingerprint, progress, signal } = options;
  if (fingerprint === 'off') return { tables: [], unproven: 'fingerprint is off in the configuration' };
  try {
    return { tables: await dumpedTables(client, { content, progress, signal }) };
  } catch (thrown) {
    signal.throwIfAborted();
    return { tables: [], unproven: `the source could not be read: ${(thrown as Error).message}` };
  }
}

async function runDump(
  database: string,
  snapshot: string,
  context: DumpContext,
): Promise<{ bytes: number; warnings: string[] }> {
  const { options, programs, target } = context;
  const { format, connection, signal } = options;
  const args = [`--format=${format}`, `--snapshot=${snapshot}`, '--no-password'];
  // Helvino compresses, with many cores and better.
  if (format !== 'plain') args.push('--compress=0');
  const run = { programs, env: programEnvironment(connection, database), signal };
  const path = dumpPath(folderOf(database), format);
  if (format === 'directory') return dumpDirectory({ args, run, path, context });
  const dump = new ClientRun('pg_dump', args, run);
  const stream = new StoredStream(target, path);
  const ends = new DumpEnds(format);
  try {
    await stream.writeAll(dump.stdout, (bytes) => {
      ends.saw(bytes);
      options.progress.advance(bytes.length);
    });
    await dump.ended;
  } finally {
    await dump.kill();
  }
  ends.check();
  await stream.end();
  return { bytes: stream.bytes, warnings: dump.messages };
}

/** Several connections dump at a time; they write to a scratch folder, since pg_dump cannot stream this format. */
async function dumpDirectory({
  args,
  run,
  path,
  context,
}: {
  args: readonly string[];
  run: ConstructorParameters<typeof ClientRun>[2];
  path: string;
  context: DumpContext;
}): Promise<{ bytes: number; warnings: string[] }> {
  const { options, target } = context;
  const parent = options.stagingDirectory;
  await sweepScratch({ parent });
  const scratch = await createScratch({ parent, purpose: 'dump' });
  try {
    const folder = join(scratch.directory, 'dump');
    const dump = new ClientRun('pg_dump', [...args, `--jobs=${options.jobs}`, `--file=${folder}`], run);
    try {
      await dump.alone();
    } finally {
      await dump.kill();
    }
    let bytes = 0;
    const names = (await readdir(folder)).sort();
    if (!names.includes('toc.dat'))
      throw new HelvinoError('PROTOCOL', 'pg_dump left no table of contents in its folder');
    for (const name of names) {
      const stream = new StoredStream(target, `${path}/${name}`);
      await stream.writeAll(createReadStream(join(folder, name), { highWaterMark: 1 << 20 }), (piece) =>
        options.progress.advance(piece.length),
      );
      await stream.end();
      bytes += stream.bytes;
    }
    return { bytes, warnings: dump.messages };
  } finally {
    await scratch.remove();
  }
}

/** Begin and end of a dump say that it is one, and whole, whatever the exit status was. */
export class DumpEnds {
  readonly #format: 'custom' | 'plain';
  #head = Buffer.alloc(0);
  #tail = Buffer.alloc(0);

  constructor(format: 'custom' | 'plain') {
    this.#format = format;
  }

  saw(bytes: Uint8Array): void {
    if (this.#head.length < 5) this.#head = Buffer.concat([this.#head, bytes.subarray(0, 5)]);
    this.#tail = Buffer.concat(bytes.length >= 1024 ? [bytes.subarray(-1024)] : [this.#tail, bytes]).subarray(
      -1024,
    );
  }

  /** Throws PROTOCOL. */
  check(): void {
    const good =
      this.#format === 'custom'
        ? this.#head.toString('latin1', 0, 5) === 'PGDMP'
        : this.#tail.includes('-- PostgreSQL database dump complete');
    if (good) return;
    throw new HelvinoError(
      'PROTOCOL',
      this.#format === 'custom' ? 'pg_dump did not write an archive' : 'the dump breaks off before its end',
      { hint: 'nothing of it counts; run it again' },
    );
  }
}
