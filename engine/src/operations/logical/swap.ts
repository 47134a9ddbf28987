/**
 * Putting a restored database into the place of another by renaming both in one transaction, and what becomes of the one
 * that was there: it is kept, its comment says what it was, and it is dropped only when a user confirms.
 */
import pg, { type Client } from 'pg';
import * as z from 'zod';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { quoteIdentifier, readDatabaseProperties } from '../../postgres/index.ts';

const markSchema = z.object({
  /** `restoring`: a new database that has not taken its place yet, and never does if the restore is cut off. */
  helvino: z.enum(['replaced', 'undone', 'restoring']),
  /** The name that it had. */
  name: z.string(),
  /** What replaced it: `backup 20261125T120302Z-9f3a01bc`. */
  by: z.string(),
  at: z.string(),
  comment: z.string().nullable(),
});

type Mark = z.infer<typeof markSchema>;

export interface KeptDatabase extends Mark {
  /** Its name now. */
  readonly kept: string;
  /** Bytes on disk. */
  readonly size: number;
}

/** `shop` and `before` as `shop_before_20261125_153301`: never longer than the server takes. */
export function nameBeside(name: string, word: string, now: Date): string {
  const end = `_${word}_${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_')}`;
  let base = name;
  while (Buffer.byteLength(base + end) > 63) base = base.slice(0, -1);
  return base + end;
}

/** Object in use: someone has connected again since all were sent away. The server itself waits up to five seconds before it says so. */
const inUse = '55006';
const notAllowed = '42501';
const attempts = 60;
/** Those who may not be sent away go by themselves, or do not. */
const patientAttempts = 3;

/**
 * `name` becomes `keepAs`, and `replacement` becomes `name`, at once or not at all. Sessions on both are ended. Throws
 * SERVER_ERROR when clients come back faster than they can be sent away, or may not be; SERVER_GONE when the connection broke.
 */
export async function swapDatabases(
  client: Client,
  swap: { name: string; replacement: string; keepAs: string; mark: Mark; comment: string | null },
): Promise<void> {
  const { name, replacement, keepAs } = swap;
  for (let attempt = 1; ; attempt++) {
    let staying: string[] = [];
    try {
      staying = await endSessions(client, [name, replacement]);
      await client.query('begin');
      await client.query(`alter database ${quoteIdentifier(name)} rename to ${quoteIdentifier(keepAs)}`);
      await client.query(`alter database ${quoteIdentifier(replacement)} rename to ${quoteIdentifier(name)}`);
      await comment(client, keepAs, JSON.stringify(swap.mark));
      await comment(client, name, swap.comment);
      await client.query('commit');
      return;
    } catch (thrown) {
      await client.query('rollback').catch(() => undefined);
      const again = staying.length > 0 ? patientAttempts : attempts;
      if (sqlState(thrown) === inUse && attempt < again) {
        await systemClock.sleep(100);
        continue;
      }
      throw swapError(name, thrown, staying);
    }
  }
}

function sqlState(thrown: unknown): string | undefined {
  return thrown instanceof pg.DatabaseError ? thrown.code : undefined;
}

function swapError(name: string, thrown: unknown, staying: readonly string[]): HelvinoError {
  const sqlstate = sqlState(thrown);
  const message = `${name} could not be put in its place: ${(thrown as Error).message}`;
  // The server may have committed all the same.
  if (sqlstate === undefined)
    return new HelvinoError('SERVER_GONE', message, {
      cause: thrown,
      hint: '`helvino swap list` tells which database is in its place now: both were renamed, or none',
    });
  const why =
    staying.length > 0
      ? `these sessions are not the role's to end: ${staying.join(', ')}; end them, then run the same again`
      : 'stop what connects to it, or end its prepared transactions, then run the same again';
  return new HelvinoError('SERVER_ERROR', message, {
    cause: thrown,
    hint:
      sqlstate === inUse
        ? why
        : 'the role must own both databases and have CREATEDB, or be a superuser; nothing was renamed',
    context: { sqlstate },
  });
}

/** Of users: autovacuum makes way by itself, and is not everyone's to end. Returns those that the role may not end, for people. */
async function endSessions(client: Client, databases: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ pid: number; role: string; application: string }>(
    `select pid, usename as role, application_name as application from pg_stat_activity
     where datname = any($1) and pid <> pg_backend_pid() and usesysid is not null`,
    [databases],
  );
  const staying: string[] = [];
  for (const { pid, role, application } of rows) {
    try {
      await client.query('select pg_terminate_backend($1)', [pid]);
    } catch (thrown) {
      if (sqlState(thrown) !== notAllowed) throw thrown;
      staying.push(`pid ${pid} of ${role}${application ? ` (${application})` : ''}`);
    }
  }
  return staying;
}

/** So that what a restore leaves when it is cut off is known for what it is. A role that may not comment goes without. */
export async function markRestoring(
  client: Client,
  temporary: string,
  mark: { readonly name: string; readonly by: string; readonly at: string },
): Promise<void> {
  const text = JSON.stringify({ helvino: 'restoring', ...mark, comment: null });
  await comment(client, temporary, text).catch(() => undefined);
}

/** `name` is free: the new database takes it, and the comment that the dumped one had. */
export async function nameRestored(
  client: Client,
  { temporary, name, comment: text }: { temporary: string; name: string; comment: string | null },
): Promise<void> {
  await endSessions(client, [temporary]);
  await client.query(`alter database ${quoteIdentifier(temporary)} rename to ${quoteIdentifier(name)}`);
  // That of a kept database says nothing of its copy.
  await comment(client, name, text?.startsWith('{"helvino":') ? null : text).catch(() => undefined);
}

async function comment(client: Client, database: string, text: string | null): Promise<void> {
  const value = text === null ? 'null' : client.escapeLiteral(text);
  await client.query(`comment on database ${quoteIdentifier(database)} is ${value}`);
}

/** Databases that a restore has replaced, and those that took their place and were sent back; oldest first. */
export async function listKept(client: Client): Promise<KeptDatabase[]> {
  const { rows } = await client.query<{ kept: string; comment: string; size: string }>(
    `select datname as kept, shobj_description(oid, 'pg_database') as comment,
       case when has_database_privilege(oid, 'connect') then pg_database_size(oid) else 0 end::text as size
     from pg_database where shobj_description(oid, 'pg_database') like '{"helvino":%' order by datname`,
  );
  const found = rows.flatMap(({ kept, comment: text, size }) => {
    const mark = readMark(text);
    return mark ? [{ ...mark, kept, size: Number(size) }] : [];
  });
  return found.sort((a, b) => (a.at < b.at ? -1 : 1));
}

function readMark(text: string): Mark | undefined {
  try {
    return markSchema.safeParse(JSON.parse(text)).data;
  } catch {
    // someone's own comment that begins alike
    return undefined;
  }
}

/** `wanted`: its name now. `toUndo`: one that has been in place. Throws USAGE. */
export async function findKept(
  client: Client,
  wanted: string,
  { toUndo = false } = {},
): Promise<KeptDatabase> {
  const all = await listKept(client);
  const found = all.find((one) => one.kept === wanted);
  if (toUndo && found?.helvino === 'restoring')
    throw new HelvinoError('USAGE', `${wanted} is what a restore has left: it was never ${found.name}`, {
      hint: `\`helvino swap confirm ${wanted}\` drops it; restore again for the database`,
    });
  if (found) return found;
  throw new HelvinoError('USAGE', `no restore has kept a database "${wanted}"`, {
    hint:
      all.length > 0
        ? `kept are ${all.map((one) => one.kept).join(', ')}`
        : 'no database is kept on this server',
  });
}

/** Brings back what a restore replaced; what is in its place now is kept in turn. Returns the name that that has now. */
export async function undoSwap(client: Client, kept: KeptDatabase, now: Date): Promise<string> {
  const { rows } = await client.query('select from pg_database where datname = $1', [kept.name]);
  if (rows.length === 0) {
    await endSessions(client, [kept.kept]);
    await client.query(
      `alter database ${quoteIdentifier(kept.kept)} rename to ${quoteIdentifier(kept.name)}`,
    );
    await comment(client, kept.name, kept.comment);
    return '';
  }
  const keepAs = nameBeside(kept.name, 'undone', now);
  const current = await readDatabaseProperties(client, kept.name);
  await swapDatabases(client, {
    name: kept.name,
    replacement: kept.kept,
    keepAs,
    mark: {
      helvino: 'undone',
      name: kept.name,
      by: kept.by,
      at: now.toISOString(),
      comment: current.comment,
    },
    comment: kept.comment,
  });
  return keepAs;
}

/** For good. */
export async function dropKept(client: Client, kept: KeptDatabase): Promise<void> {
  await client.query(`drop database ${quoteIdentifier(kept.kept)} with (force)`);
}
