/** Loads a dump into an empty database with pg_restore or psql: all of it or an error. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ClientPrograms,
  ClientRun,
  type ConnectionParams,
  createScratch,
  databaseArgument,
  programEnvironment,
  sweepScratch,
} from '../../postgres/index.ts';
import { DumpEnds } from './dump-database.ts';
import type { DumpSource } from './dump-source.ts';
import { parseToc, type Selection, selectEntries, selectedTables } from './toc.ts';

export interface LoadOptions {
  readonly source: DumpSource;
  readonly programs: ClientPrograms;
  readonly connection: ConnectionParams;
  /** The empty database. */
  readonly database: string;
  readonly selection: Selection;
  /** Connections at a time; more than one needs room for the dump in `stagingDirectory`. */
  readonly jobs: number;
  readonly owners: boolean;
  readonly rights: boolean;
  /** False: everything goes to the default tablespace. The plain format cannot. */
  readonly tablespaces: boolean;
  readonly stagingDirectory?: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export function isSelective({ schemas, tables }: Selection): boolean {
  return schemas.length > 0 || tables.length > 0;
}

/** Which tables (`schema.table`) have their rows; undefined: all. Throws SERVER_ERROR with what the program said. */
export async function loadDump(options: LoadOptions): Promise<Set<string> | undefined> {
  const { source, jobs, progress, selection } = options;
  if (source.format === 'plain') {
    if (isSelective(selection))
      throw new HelvinoError('USAGE', 'schemas and tables cannot be chosen from a dump of the plain format', {
        hint: 'restore all of it into a new database and take them from there, or dump with --format custom',
      });
    progress.phase('loading the dump', source.bytes || undefined, 'bytes');
    await loadPlain(options);
    return undefined;
  }
  await sweepScratch({ parent: options.stagingDirectory });
  const scratch = await createScratch({ parent: options.stagingDirectory, purpose: 'load' });
  try {
    let file: string | undefined;
    if (source.format === 'directory' || jobs > 1) {
      progress.phase('laying the dump out');
      file = await source.stage(scratch.directory);
    }
    const chosen = await choose(options, file, scratch.directory);
    progress.phase('loading the dump', file === undefined ? source.bytes : undefined, 'bytes');
    const args = [
      '--exit-on-error',
      '--no-password',
      `--dbname=${databaseArgument(options.database)}`,
      ...(options.owners ? [] : ['--no-owner']),
      ...(options.rights ? [] : ['--no-acl']),
      ...(options.tablespaces ? [] : ['--no-tablespaces']),
      ...(chosen ? [`--use-list=${chosen.list}`] : []),
    ];
    if (file === undefined)
      await explained(start('pg_restore', args, options).feed(counted(source.stream(), progress)));
    else {
      const run = start('pg_restore', [...args, `--jobs=${jobs}`, file], options);
      await explained(run.alone());
    }
    return chosen?.tables;
  } finally {
    await scratch.remove();
  }
}

/** What goes wrong with roles is the most frequent, and has a way out. */
async function explained(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || !/role ".*" does not exist/.test(thrown.message)) throw thrown;
    throw new HelvinoError(thrown.code, thrown.message, {
      cause: thrown,
      context: thrown.context,
      hint: 'restore the roles with --globals, or leave owners and rights out with --no-owner --no-acl',
    });
  }
}

function start(name: 'pg_restore' | 'psql', args: readonly string[], options: LoadOptions): ClientRun {
  const { programs, connection, database, signal } = options;
  return new ClientRun(name, args, { programs, env: programEnvironment(connection, database), signal });
}

async function choose(
  options: LoadOptions,
  file: string | undefined,
  directory: string,
): Promise<{ list: string; tables: Set<string> } | undefined> {
  const { source, selection } = options;
  if (!isSelective(selection)) return undefined;
  const run = start('pg_restore', ['--list', '--verbose', ...(file === undefined ? [] : [file])], options);
  // The table of contents comes first: pg_restore ends when it has it, and takes no more.
  const input = file === undefined ? source.stream() : nothing();
  const [text] = await Promise.all([run.text(), run.write(input)]);
  const entries = selectEntries(parseToc(text), selection);
  const list = join(directory, 'list');
  await writeFile(list, `${entries.map((entry) => entry.line).join('\n')}\n`, { mode: 0o600 });
  return { list, tables: selectedTables(entries) };
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // no input
}

async function* counted(input: AsyncIterable<Uint8Array>, progress: Progress): AsyncGenerator<Uint8Array> {
  for await (const bytes of input) {
    yield bytes;
    progress.advance(bytes.length);
  }
}

/** psql takes the end of its input for the end of the dump: so that end is looked at here. */
async function loadPlain(options: LoadOptions): Promise<void> {
  const { source, progress } = options;
  const args = [
    '-X',
    '-q',
    '-v',
    'ON_ERROR_STOP=1',
    '--no-password',
    '-d',
    databaseArgument(options.database),
    '-f',
    '-',
  ];
  const ends = new DumpEnds('plain');
  await explained(
    start('psql', args, options).feed(
      (async function* () {
        for await (const bytes of counted(source.stream(), progress)) {
          ends.saw(bytes);
          yield bytes;
        }
        ends.check();
      })(),
    ),
  );
}

/**
 * Roles, or tablespaces. What is there already stays, but roles get the attributes that the dump sets; the lines say what
 * could not be made.
 */
export async function loadGlobals(
  what: 'roles' | 'tablespaces',
  maintenance: string,
  options: Pick<LoadOptions, 'source' | 'programs' | 'connection' | 'progress' | 'signal'>,
): Promise<string[]> {
  const { source, programs, connection, signal, progress } = options;
  const globals = source.globals(what);
  if (globals === undefined) return [`${what} are not in this backup`];
  progress.phase(`restoring ${what}`);
  const args = ['-X', '-q', '--no-password', '-d', databaseArgument(maintenance), '-f', '-'];
  const run = new ClientRun('psql', args, {
    programs,
    env: programEnvironment(connection, maintenance),
    signal,
    // Else hundreds of roles that are there would push out what matters.
    keep: (line) => !/ERROR: .* already exists$/.test(line),
  });
  await run.feed(globals);
  const problems = run.messages.filter((line) => /ERROR:/.test(line));
  return run.lostMessages > 0
    ? [`${run.lostMessages} earlier lines about ${what} were not kept`, ...problems]
    : problems;
}
