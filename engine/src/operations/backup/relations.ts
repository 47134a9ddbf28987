/** Which file belongs to which table: kept with the backup, so that damage can be named by table without a server. */
import {
  type ConnectionParams,
  connectSql,
  type RelationFile,
  relationsByFile,
} from '../../postgres/index.ts';
import type { SourceFacts } from './source.ts';

export interface NamedFile extends RelationFile {
  readonly database: string;
}

/** Databases that cannot be read are left out: names are a help, not a need. */
export async function readRelations(connection: ConnectionParams, source: SourceFacts): Promise<NamedFile[]> {
  const files: NamedFile[] = [];
  for (const database of source.databases) {
    const client = await connectSql(connection, { database }).catch(() => undefined);
    if (!client) continue;
    try {
      for (const file of await relationsByFile(client)) files.push({ ...file, database });
    } catch {
      // no right to read the catalog of this database
    } finally {
      await client.end();
    }
  }
  return files;
}
