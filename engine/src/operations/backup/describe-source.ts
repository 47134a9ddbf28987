/**
 * What the databases of the source consist of, and which file belongs to which table: kept with the backup, so that a drill can
 * compare definitions, and damage can be named by table without a server. One visit to each database.
 */
import type { Client } from 'pg';
import {
  type RelationFile,
  readSchemaFacts,
  relationsByFile,
  type SchemaFacts,
  withSql,
} from '../../postgres/index.ts';
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

/** Never throws but when it is interrupted. */
export async function describeSource(
  { connection, signal }: Pick<BackupOptions, 'connection' | 'signal'>,
  databases: readonly string[],
): Promise<SourceDescription> {
  const schemas: SourceSchema[] = [];
  const relations: NamedFile[] = [];
  for (const database of databases) {
    signal.throwIfAborted();
    try {
      await withSql(connection, { database, signal }, async (client) => {
        schemas.push(await schemaOf(client, database));
        for (const file of await relationsByFile(client)) relations.push({ ...file, database });
      });
    } catch (thrown) {
      signal.throwIfAborted();
      if (schemas.at(-1)?.database !== database)
        schemas.push({ database, unproven: (thrown as Error).message });
    }
  }
  return { schemas, relations };
}

async function schemaOf(client: Client, database: string): Promise<SourceSchema> {
  try {
    return { database, ...(await readSchemaFacts(client)) };
  } catch (thrown) {
    return { database, unproven: (thrown as Error).message };
  }
}
