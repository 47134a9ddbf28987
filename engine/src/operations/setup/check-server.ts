/** Looks at a server as a source of backups, and says what is missing and what would be better, with what to do. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { type ConnectionParams, connectSql, openReplication } from '../../postgres/index.ts';
import { readSource, type SourceFacts } from '../backup/source.ts';
import { listKept } from '../logical/swap.ts';
import { otherCluster, type StoredClusters } from '../wal/known-cluster.ts';
import { checkWal, type StreamNames } from './check-wal.ts';

export interface Finding {
  readonly name: string;
  /** `advice`: backups work; something could be better. */
  readonly state: 'good' | 'advice' | 'missing';
  readonly detail: string;
  readonly hint?: string;
}

export interface ServerCheck {
  readonly ready: boolean;
  readonly server: string | undefined;
  readonly findings: readonly Finding[];
}

/** `names`: of our stream; without them nothing of it is looked for. `clusters`: what the repository says that the server is. */
export async function checkServer(
  connection: ConnectionParams,
  names?: StreamNames,
  clusters?: StoredClusters,
): Promise<ServerCheck> {
  const findings: Finding[] = [];
  let source: SourceFacts | undefined;
  try {
    const client = await connectSql(connection);
    try {
      source = await readSource(client);
      findings.push({
        name: 'connection',
        state: 'good',
        detail: `PostgreSQL ${source.serverVersionText}, ${source.databases.length} databases`,
      });
      const cluster = clusters && checkCluster(clusters, source.systemId);
      findings.push(
        ...(cluster ? [cluster] : []),
        // What a slot of another cluster is like says nothing of our stream.
        ...(await checkWal(client, cluster && cluster.state !== 'good' ? undefined : names)),
        ...settings(source),
        await readRights(client),
        ...hidden(source),
        ...(await leftRestores(client)),
      );
    } finally {
      await client.end();
    }
  } catch (thrown) {
    findings.push(missing('connection', thrown));
  }
  if (source) findings.push(await replication(connection, source));
  const ready = findings.every((finding) => finding.state !== 'missing');
  return { ready, server: source?.serverVersionText, findings };
}

/** The same where the connection has yet to be made up: a password that is not where it is to come from is a finding, too. */
export async function checkConfigured(connection: () => Promise<ConnectionParams>): Promise<ServerCheck> {
  let made: ConnectionParams;
  try {
    made = await connection();
  } catch (thrown) {
    return { ready: false, server: undefined, findings: [missing('connection', thrown)] };
  }
  return checkServer(made);
}

/** Undefined when nothing is stored yet. */
function checkCluster(clusters: StoredClusters, systemId: string): Finding | undefined {
  const name = 'cluster';
  const other = otherCluster(clusters, systemId);
  // Backups of a cluster that was made anew work, its WAL does not.
  const state = clusters.backups === systemId ? 'advice' : 'missing';
  if (other) return { name, state, detail: other.message, hint: other.hint };
  if (clusters.backups === undefined && clusters.wal === undefined) return undefined;
  return { name, state: 'good', detail: `${systemId}, as what is stored of ${clusters.database}` };
}

function missing(name: string, thrown: unknown): Finding {
  if (!(thrown instanceof HelvinoError)) throw thrown;
  return { name, state: 'missing', detail: thrown.message, hint: thrown.hint };
}

async function replication(connection: ConnectionParams, source: SourceFacts): Promise<Finding> {
  try {
    const stream = await openReplication(connection);
    const { systemId } = await stream.identify();
    await stream.close();
    if (systemId === source.systemId)
      return { name: 'replication', state: 'good', detail: 'the role may stream base backups' };
    return {
      name: 'replication',
      state: 'missing',
      detail: 'the replication connection leads to another server',
      hint: 'connect to the server itself, not to a pooler',
    };
  } catch (thrown) {
    return missing('replication', thrown);
  }
}

function settings(source: SourceFacts): Finding[] {
  const findings: Finding[] = [];
  findings.push(
    source.dataChecksums
      ? { name: 'data checksums', state: 'good', detail: 'on' }
      : {
          name: 'data checksums',
          state: 'advice',
          detail: 'off: damage on disk is not noticed',
          hint: 'stop the server and run pg_checksums --enable',
        },
  );
  if (source.serverVersion >= 170000 && !source.summarizeWal) {
    findings.push({
      name: 'summarize_wal',
      state: 'advice',
      detail: 'off: an incremental backup reads the whole cluster',
      hint: 'ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();',
    });
  }
  return findings;
}

async function readRights(client: Client): Promise<Finding> {
  const { rows } = await client.query<{ may: boolean }>(
    `select pg_has_role(current_user, 'pg_read_all_data', 'usage') as may`,
  );
  if (rows[0]?.may)
    return {
      name: 'reading tables',
      state: 'good',
      detail: 'the role may read all tables: a drill can compare their content',
    };
  return {
    name: 'reading tables',
    state: 'advice',
    detail: 'the role may not read all tables: a drill cannot compare their content',
    hint: 'GRANT pg_read_all_data TO the role',
  };
}

/** A restore that was killed has left a database, and perhaps a stopped application. */
async function leftRestores(client: Client): Promise<Finding[]> {
  const left = (await listKept(client)).filter(({ helvino }) => helvino === 'restoring');
  return left.map(({ kept, name }) => ({
    name: 'restores',
    state: 'advice',
    detail: `${kept} is what a restore of ${name} has left that was cut off or found a difference, unless it still runs: is the application up?`,
    hint: `\`helvino swap confirm ${kept}\` drops it`,
  }));
}

function hidden({ hiddenDatabases }: SourceFacts): Finding[] {
  if (hiddenDatabases.length === 0) return [];
  return [
    {
      name: 'databases',
      state: 'advice',
      detail: `the role cannot connect to ${hiddenDatabases.join(', ')}: a drill cannot compare their content`,
      hint: 'GRANT CONNECT ON DATABASE … TO the role',
    },
  ];
}
