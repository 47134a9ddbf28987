/**
 * What the databases of the source consist of, and which file belongs to which table: kept with the backup, so that a drill can
 * compare definitions, and damage can be named by table without a server. One visit to each database.
 */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import {
  type RelationFile,
  readSchemaFacts,
  relationsByFile,
  type SchemaFacts,
  withSql,
} from '../../postgres/index.ts';
import { mapParallel } from '../../streams/index.ts';
import type { BackupOptions } from './backup.ts';

export interface NamedFile extends RelationFile {
  readonly database: string;
}

/** What a database consists of, as a backup keeps it (the section `schema`). */
export type SourceSchema = { readonly database: string } & (SchemaFacts | { readonly unproven: string });

export interface SourceDescription {
  readonly schemas: readonly SourceSchema[];
  /** Of databases that can be read: names are a help, not a need. */
  readonly relations: readonly NamedFile[];
}

/** Databases that are visited at once: a server makes a process for each. */
const visits = 2;

/** Never throws but when it is interrupted. */
export async function describeSource(
  options: Pick<BackupOptions, 'connection' | 'signal'>,
  databases: readonly string[],
): Promise<SourceDescription> {
  const described: Described[] = [];
  const visited = mapParallel(databases, visits, (database) => describeDatabase(options, database));
  for await (const one of visited) described.push(one);
  // Alone, where the role may have just one connection more.
  for (const [i, database] of databases.entries())
    if (described[i]!.refused) described[i] = await describeDatabase(options, database);
  return {
    schemas: described.map(({ schema }) => schema),
    relations: described.flatMap(({ relations }) => relations),
  };
}

interface Described {
  readonly schema: SourceSchema;
  readonly relations: readonly NamedFile[];
  /** The server had no connection left. */
  readonly refused?: boolean;
}

async function describeDatabase(
  { connection, signal }: Pick<BackupOptions, 'connection' | 'signal'>,
  database: string,
): Promise<Described> {
  signal.throwIfAborted();
  let schema: SourceSchema | undefined;
  try {
    return await withSql(connection, { database, signal }, async (client) => {
      schema = await schemaOf(client, database);
      const files = await relationsByFile(client);
      return { schema, relations: files.map((file) => ({ ...file, database })) };
    });
  } catch (thrown) {
    signal.throwIfAborted();
    const refused = thrown instanceof HelvinoError && thrown.context.sqlstate === '53300';
    return { schema: schema ?? { database, unproven: (thrown as Error).message }, relations: [], refused };
  }
}

async function schemaOf(client: Client, database: string): Promise<SourceSchema> {
  try {
    return { database, ...(await readSchemaFacts(client)) };
  } catch (thrown) {
    return { database, unproven: (thrown as Error).message };
  }
}
