/**
 * What belongs to a database but is in none of its dumps: settings, rights, connection limit, comment. Read from one
 * database, and given to another. https://www.postgresql.org/docs/current/catalog-pg-database.html
 */
import type { Client } from 'pg';
import { quoteIdentifier } from './fingerprint.ts';
import { query } from './sql.ts';

export interface DatabaseProperties {
  readonly owner: string;
  readonly connectionLimit: number;
  readonly comment: string | null;
  /** ALTER DATABASE … SET; with a role, ALTER ROLE … IN DATABASE … SET. */
  readonly settings: readonly {
    readonly role: string | null;
    readonly name: string;
    readonly value: string;
  }[];
  /** Null: the rights that a new database has. An empty grantee is PUBLIC. */
  readonly rights:
    | readonly { readonly grantee: string; readonly privilege: string; readonly grantable: boolean }[]
    | null;
}

export async function readDatabaseProperties(client: Client, database: string): Promise<DatabaseProperties> {
  const [facts] = await query<{
    owner: string;
    connectionLimit: number;
    comment: string | null;
    granted: boolean;
  }>(
    client,
    `select pg_get_userbyid(datdba) as owner, datconnlimit as "connectionLimit", datacl is not null as granted,
       shobj_description(oid, 'pg_database') as comment
     from pg_database where datname = $1`,
    [database],
  );
  const settings = await query<{ role: string | null; name: string; value: string }>(
    client,
    `select r.rolname as role, split_part(config, '=', 1) as name, substr(config, position('=' in config) + 1) as value
     from pg_db_role_setting s cross join unnest(setconfig) as config left join pg_roles r on r.oid = s.setrole
     where setdatabase = (select oid from pg_database where datname = $1) and (setrole = 0 or r.oid is not null)
     order by 1 nulls first, 2`,
    [database],
  );
  const rights = await query<{ grantee: string; privilege: string; grantable: boolean }>(
    client,
    `select coalesce(r.rolname, '') as grantee, a.privilege_type as privilege, a.is_grantable as grantable
     from pg_database d cross join aclexplode(d.datacl) a left join pg_roles r on r.oid = a.grantee
     where datname = $1 and (a.grantee = 0 or r.oid is not null) order by 1, 2`,
    [database],
  );
  const { granted, ...rest } = facts!;
  return { ...rest, settings, rights: granted ? rights : null };
}

/** Gives what can be given; the lines say what could not (a role that is not here, a right that we lack). */
export async function applyDatabaseProperties(
  client: Client,
  database: string,
  properties: DatabaseProperties,
): Promise<string[]> {
  const problems: string[] = [];
  const name = quoteIdentifier(database);
  const attempt = async (what: string, ...statements: (readonly [string, (readonly unknown[])?])[]) => {
    await query(client, 'begin');
    try {
      for (const [text, values] of statements) await query(client, text, values);
      await query(client, 'commit');
    } catch (thrown) {
      await query(client, 'rollback');
      problems.push(`${what}: ${(thrown as Error).message}`);
    }
  };
  for (const { role, name: setting, value } of properties.settings) {
    const target = role === null ? `database ${name}` : `role ${quoteIdentifier(role)} in database ${name}`;
    // As the value of this transaction first: lists keep their form so, which a literal would not.
    await attempt(
      `setting ${setting}${role === null ? '' : ` of ${role}`}`,
      ['select set_config($1, $2, true)', [setting, value]],
      [`alter ${target} set ${quoteIdentifier(setting)} from current`],
    );
  }
  if (properties.rights !== null) {
    await attempt('rights of PUBLIC', [`revoke all on database ${name} from public`]);
    for (const { grantee, privilege, grantable } of properties.rights) {
      const who = grantee === '' ? 'public' : quoteIdentifier(grantee);
      await attempt(`${privilege} for ${grantee || 'PUBLIC'}`, [
        `grant ${privilege} on database ${name} to ${who}${grantable ? ' with grant option' : ''}`,
      ]);
    }
  }
  if (properties.connectionLimit >= 0)
    await attempt('connection limit', [
      `alter database ${name} connection limit ${properties.connectionLimit}`,
    ]);
  return problems;
}
