/** Where a dump comes from: a backup in the repository, or a plain file that pg_dump, gzip and perhaps gpg have made. */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import { type LogicalFacts, logicalFacts } from '../../catalog/index.ts';
import type { DatabaseProperties } from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import type { RecordedTable } from '../drill/check-content.ts';
import { dumpPath } from './dump-database.ts';
import { decryptFile } from './gpg.ts';
import { globalsPaths } from './logical-backup.ts';
import { listStreams, readStream } from './stored-stream.ts';

export interface DumpSource {
  /** For people: `backup 20261125T120302Z-9f3a01bc`. */
  readonly name: string;
  /** Undefined where it is not known: a plain file. */
  readonly major: number | undefined;
  readonly format: LogicalFacts['format'];
  /** What the database was, where that is known. */
  readonly database: LogicalFacts['databases'][number] | undefined;
  readonly properties: DatabaseProperties | undefined;
  readonly recorded: readonly RecordedTable[];
  readonly fingerprint: LogicalFacts['fingerprint'];
  readonly bytes: number;
  /** Of the formats custom and plain. */
  stream(): AsyncIterable<Uint8Array>;
  /** Undefined when roles and tablespaces were not dumped. */
  globals(what: 'roles' | 'tablespaces'): AsyncIterable<Uint8Array> | undefined;
  /** Lays the dump out on disk; returns the path for pg_restore. */
  stage(directory: string): Promise<string>;
}

/** `name`: the database in the backup; undefined when it has only one besides `postgres`. Throws USAGE, KEY_WRONG. */
export async function dumpInBackup(
  repository: Repository,
  { manifest, identities, name }: { manifest: Manifest; identities: Identities; name: string | undefined },
): Promise<DumpSource> {
  const facts = logicalFacts(manifest);
  const database = chooseDatabase(facts, manifest.id, name);
  const keys = await repository.dataKeys(manifest, identities);
  const recorded: RecordedTable[] = [];
  for await (const value of repository.section(manifest, 'tables'))
    if ((value as RecordedTable).database === database.name) recorded.push(value as RecordedTable);
  let properties: DatabaseProperties | undefined;
  for await (const value of repository.section(manifest, 'databases'))
    if ((value as { name: string }).name === database.name) properties = value as DatabaseProperties;
  const path = dumpPath(database.folder, facts.format);
  const read = (stream: string) => readStream(repository, { manifest, keys, path: stream });
  return {
    name: `backup ${manifest.id}`,
    major: Math.floor(facts.serverVersion / 10000),
    format: facts.format,
    database,
    properties,
    recorded,
    // Databases that were not dumped say nothing about this one.
    fingerprint: { ...facts.fingerprint, hiddenDatabases: [] },
    bytes: database.bytes,
    stream: () => read(path),
    globals: (what) => (facts.globals === 'none' ? undefined : read(globalsPaths[what])),
    async stage(directory) {
      if (facts.format !== 'directory') return stageFile(join(directory, 'dump'), read(path));
      const folder = join(directory, 'dump');
      await mkdir(folder, { mode: 0o700 });
      for (const stream of await listStreams(repository, manifest, path)) {
        const file = stream.slice(path.length + 1);
        if (!/^[\w.-]+$/.test(file) || file.startsWith('.'))
          throw new HelvinoError('REPOSITORY_DAMAGED', `the dump has a file named ${JSON.stringify(file)}`);
        await stageFile(join(folder, file), read(stream));
      }
      return folder;
    },
  };
}

async function stageFile(path: string, content: AsyncIterable<Uint8Array>): Promise<string> {
  await pipeline(Readable.from(content), createWriteStream(path, { mode: 0o600, flags: 'wx' }));
  return path;
}

function chooseDatabase(
  facts: LogicalFacts,
  id: string,
  name: string | undefined,
): LogicalFacts['databases'][number] {
  const { databases } = facts;
  const own = databases.filter((d) => d.name !== 'postgres');
  const found =
    name === undefined
      ? own.length === 1
        ? own[0]
        : databases.length === 1
          ? databases[0]
          : undefined
      : databases.find((d) => d.name === name);
  if (found) return found;
  const all = databases.map((d) => d.name).join(', ');
  throw new HelvinoError(
    'USAGE',
    name === undefined
      ? `backup ${id} holds several databases: ${all}`
      : `backup ${id} holds no database "${name}"`,
    { hint: `say which one with --dbname; it holds ${all}` },
  );
}

/**
 * A file that `helvino backup --to-folder`, or the guide's `pg_dump … | gzip [| gpg]`, has made: `.sql`, `.sql.gz`, `.sql.gz.gpg`.
 * Throws TARGET_IO, KEY_WRONG, PROTOCOL.
 */
export async function dumpInFile(
  path: string,
  context: { env: Readonly<Record<string, string | undefined>>; signal: AbortSignal },
): Promise<DumpSource> {
  const stream = () => plainSql(path, context);
  let head = '';
  for await (const bytes of stream()) {
    head += Buffer.from(bytes).toString('latin1');
    if (head.length > 4096) break;
  }
  if (head.startsWith('PGDMP'))
    throw new HelvinoError('USAGE', `${path} is an archive of pg_dump's custom format, not SQL`, {
      hint: 'restore it with pg_restore',
    });
  const version = /^-- Dumped from database version (\d+)/m.exec(head)?.[1];
  if (version === undefined)
    throw new HelvinoError('PROTOCOL', `${path} is not a dump by pg_dump`, {
      hint: 'check which file it is',
    });
  return {
    name: basename(path),
    major: Number(version),
    format: 'plain',
    database: undefined,
    properties: undefined,
    recorded: [],
    fingerprint: {
      state: 'unproven',
      reason: 'a plain file holds none',
      tables: 0,
      skipped: 0,
      hiddenDatabases: [],
    },
    bytes: 0,
    stream,
    globals: () => undefined,
    stage: () => Promise.reject(new HelvinoError('INTERNAL', 'a plain file is not staged')),
  };
}

async function* plainSql(
  path: string,
  context: { env: Readonly<Record<string, string | undefined>>; signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  const gpg = path.endsWith('.gpg') ? decryptFile(path, context) : undefined;
  const raw = gpg?.stdout ?? createReadStream(path, { highWaterMark: 1 << 20 });
  const packed = /\.gz(\.gpg)?$/.test(path);
  try {
    if (packed) {
      const unpacked = raw.pipe(createGunzip());
      raw.on('error', (error) => unpacked.destroy(error));
      yield* unpacked;
    } else yield* raw;
    await gpg?.ended;
  } catch (thrown) {
    const why = await gpg?.ended.then(
      () => undefined,
      (failure: unknown) => failure,
    );
    if (why !== undefined) throw why;
    const code = systemCode(thrown);
    if (code === undefined) throw thrown;
    throw new HelvinoError(
      code.startsWith('Z_') ? 'PROTOCOL' : 'TARGET_IO',
      `${path} cannot be read: ${(thrown as Error).message}`,
      {
        cause: thrown,
        hint: 'nothing was restored from it; take another file',
      },
    );
  } finally {
    raw.destroy();
    await gpg?.kill();
  }
}
